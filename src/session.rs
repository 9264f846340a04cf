//! A session, and what an error in it means. The only place that opens `zookeeper-client`.
//!
//! A session is the server-side lifetime that ephemeral znodes belong to; a connection is the TCP link under it.
//! A lost connection is mended underneath, by the client; an expired session is replaced, in `ensemble`, by the next
//! caller who asks. Which callers share one is in `registry`.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{join_all, BoxFuture};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;
use zookeeper_client as zk;

use crate::diagnosis::{certain_failure, why_refused, Findings};
use crate::error::{Error, Result};
#[cfg(feature = "gssapi")]
use crate::kerberos::tickets;
use crate::security::Credentials;
use crate::settings::Identity;
use crate::tls::Material;

mod silence;
mod writes;

use silence::Heard;
use writes::is_refusal;
pub(crate) use writes::{Transaction, Unacknowledged, Writes};

/// Between a lost connection and the next try on it: a server that answers every request by hanging
/// up must not be asked in a tight loop.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// How many addresses the client is given, by naming each as often as it takes.
const TRIES_A_PASS: usize = 12;

/// Why credentials may have come to nothing.
pub(crate) const UNKNOWN: &str = "it knows no such user: SASL is off there, or lets in those who fail";

/// What a call that only reads has left behind when it is cut short.
pub(crate) const UNCHANGED: &str = "nothing was changed";

/// What a server answers, or why it did not.
pub(crate) type Reply<T> = std::result::Result<T, zk::Error>;

/// How one attempt failed, and what may be done about it.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The reply was lost: it may have been done. The session may go on.
    Lost,
    /// The session is over, with all its ephemeral znodes.
    Gone,
    /// Trying again will not help.
    Final(Error),
}

/// What this process has made in a session.
#[derive(Debug, Default)]
struct Owned {
    /// The leases that `lock` has taken, by pool and owner.
    leases: HashMap<(String, String), Vec<String>>,
    /// The paths of ephemeral znodes that somebody relies on. The servers remove them when the session ends.
    ephemerals: HashSet<String>,
}

/// An open session. It hands out reads, and writes only with an account of those that no server has answered.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    client: zk::Client,
    identity: Arc<Identity>,
    owned: Arc<Mutex<Owned>>,
    /// Ends what runs in the background, and would keep the session open.
    closing: CancellationToken,
    heard: Arc<Mutex<Heard>>,
}

impl Session {
    /// Opens a session, however long it takes, unless it is certain that none of the servers can be used.
    pub(crate) async fn open(identity: &Arc<Identity>, path: &str, findings: &Findings) -> Result<Self> {
        let material = match identity.tls.clone() {
            None => None,
            Some(tls) => {
                let loading = tokio::task::spawn_blocking(move || Material::load(&tls));
                Some(loading.await.map_err(|error| Error::Internal(error.to_string()))??)
            }
        };
        #[cfg(feature = "gssapi")]
        if identity.has_ticket() {
            tickets(identity, path, findings).await?;
        }
        tokio::select! {
            opened = Self::connect(identity, material.as_ref(), path) => opened,
            failure = certain_failure(identity, material.as_ref(), findings) => failure.map(|never| match never {}),
        }
    }

    async fn connect(identity: &Arc<Identity>, material: Option<&Material>, path: &str) -> Result<Self> {
        // The client pauses ever longer between two passes through its list, so that a short list
        // leaves gaps of seconds, in which a session of ten seconds can expire although all servers
        // are back. A longer list has shorter ones.
        let servers = identity.servers.iter().cycle().take(identity.servers.len().max(TRIES_A_PASS));
        let servers = servers.map(String::as_str).collect::<Vec<_>>().join(",");
        loop {
            let mut connector = zk::Client::connector().with_session_timeout(identity.session_timeout);
            match &identity.credentials {
                None => {}
                Some(Credentials::Digest { username, password }) => {
                    let pair = Zeroizing::new(format!("{username}:{}", password.reveal()));
                    connector = connector.with_auth("digest", pair.as_bytes());
                }
                Some(Credentials::DigestMd5 { username, password }) => {
                    let (username, password) = (username.clone(), password.reveal().to_owned());
                    connector = connector.with_sasl(zk::SaslOptions::digest_md5(username, password));
                }
                #[cfg(feature = "gssapi")]
                Some(Credentials::Gssapi) => connector = connector.with_sasl(zk::SaslOptions::gssapi()),
            }
            let opened = match material {
                Some(material) => connector.with_tls(material.options()?).secure_connect(&servers).await,
                None => connector.connect(&servers).await,
            };
            let checked = match opened {
                Ok(client) => Self::new(client, identity.clone()).checked().await,
                Err(error) => Err(error),
            };
            let refused = |reason| Err(auth_failed(identity, path, reason));
            match checked {
                Ok(Some(session)) => return Ok(session),
                Ok(None) => return refused(UNKNOWN),
                Err(zk::Error::AuthFailed) => return refused(why_refused(identity)),
                Err(zk::Error::Unimplemented) => {
                    return refused("SASL needs ZooKeeper 3.7 or newer, which can tell who is logged in")
                }
                Err(zk::Error::BadArguments(why)) => return Err(Error::argument("zk_hosts", why.to_string())),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The session, if it belongs to whom it should: a server that does not do SASL lets everybody in, as nobody.
    pub(crate) async fn checked(self) -> Reply<Option<Self>> {
        if !self.identity.credentials.as_ref().is_some_and(Credentials::is_sasl) {
            return Ok(Some(self));
        }
        let users = self.client.list_auth_users().await?;
        Ok(users.iter().any(|user| user.scheme() == "sasl").then_some(self))
    }

    fn new(client: zk::Client, identity: Arc<Identity>) -> Self {
        Self { client, identity, owned: Arc::default(), closing: CancellationToken::new(), heard: Arc::default() }
    }

    /// What ends when the session is about to be closed.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// How long the servers keep the session without a word.
    pub(crate) fn timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    fn owned(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a lease that `lock` takes in a pool, so that `unlock` does not have to look for it.
    pub(crate) fn note(&self, pool: &str, owner: &str, lease: &str) {
        let mut owned = self.owned();
        let leases = owned.leases.entry((pool.to_owned(), owner.to_owned())).or_default();
        if !leases.iter().any(|noted| noted == lease) {
            leases.push(lease.to_owned());
        }
    }

    /// Strikes out what was noted of an owner's lease.
    pub(crate) fn forget(&self, pool: &str, owner: &str, lease: &str) {
        let mut owned = self.owned();
        let key = (pool.to_owned(), owner.to_owned());
        if let Some(leases) = owned.leases.get_mut(&key) {
            leases.retain(|noted| noted != lease);
            if leases.is_empty() {
                owned.leases.remove(&key);
            }
        }
    }

    /// The leases that `lock` has taken in a pool for an owner, in this session.
    pub(crate) fn noted(&self, pool: &str, owner: &str) -> Vec<String> {
        self.owned().leases.get(&(pool.to_owned(), owner.to_owned())).cloned().unwrap_or_default()
    }

    /// Keeps the session open for an ephemeral znode, though nobody calls.
    pub(crate) fn keep_for(&self, path: &str) {
        self.owned().ephemerals.insert(path.to_owned());
    }

    /// Ends what [`Session::keep_for`] began.
    pub(crate) fn keep_no_more_for(&self, path: &str) {
        self.owned().ephemerals.remove(path);
    }

    /// Whether an ephemeral znode would go with the session that somebody relies on.
    pub(crate) fn is_relied_on(&self) -> bool {
        !self.owned().ephemerals.is_empty()
    }

    /// Waits until what others were told before can be read from the server of this session.
    pub(crate) fn sync(&self, path: &str) -> impl Future<Output = Reply<()>> + Send + '_ {
        self.client.sync(path)
    }

    pub(crate) fn get_data(&self, path: &str) -> impl Future<Output = Reply<(Vec<u8>, zk::Stat)>> + Send {
        self.client.get_data(path)
    }

    pub(crate) fn get_and_watch_data(
        &self,
        path: &str,
    ) -> impl Future<Output = Reply<(Vec<u8>, zk::Stat, zk::OneshotWatcher)>> + Send + '_ {
        self.client.get_and_watch_data(path)
    }

    pub(crate) fn check_stat(&self, path: &str) -> impl Future<Output = Reply<Option<zk::Stat>>> + Send {
        self.client.check_stat(path)
    }

    pub(crate) fn check_and_watch_stat(
        &self,
        path: &str,
    ) -> impl Future<Output = Reply<(Option<zk::Stat>, zk::OneshotWatcher)>> + Send + '_ {
        self.client.check_and_watch_stat(path)
    }

    pub(crate) fn list_children(&self, path: &str) -> impl Future<Output = Reply<Vec<String>>> + Send + '_ {
        self.client.list_children(path)
    }

    pub(crate) fn list_and_watch_children(
        &self,
        path: &str,
    ) -> impl Future<Output = Reply<(Vec<String>, zk::OneshotWatcher)>> + Send + '_ {
        self.client.list_and_watch_children(path)
    }

    pub(crate) fn get_acl(&self, path: &str) -> impl Future<Output = Reply<(Vec<zk::Acl>, zk::Stat)>> + Send + '_ {
        self.client.get_acl(path)
    }

    /// Several reads in one request.
    pub(crate) fn multi_reader(&self) -> zk::MultiReader<'_> {
        self.client.new_multi_reader()
    }

    /// Writes, each sent at once. It is unacknowledged until a server says what became of it.
    pub(crate) fn writes<'a>(&'a self, unacknowledged: &'a Unacknowledged) -> Writes<'a> {
        Writes { client: &self.client, unacknowledged }
    }

    pub(crate) fn id(&self) -> i64 {
        self.client.session_id().0
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.client.state(), zk::SessionState::SyncConnected)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.client.state().is_terminated()
    }

    /// Waits until there is a connection: `true`; or the session is over: `false`.
    pub(crate) async fn connected(&self) -> bool {
        let mut watcher = self.client.state_watcher();
        while !self.is_connected() {
            if self.is_over() {
                return false;
            }
            watcher.changed().await;
        }
        true
    }

    /// Ends the session, and waits until the server has been told.
    pub(crate) async fn close(self) {
        let mut watcher = self.client.state_watcher();
        self.closing.cancel();
        drop(self);
        while !watcher.peek_state().is_terminated() {
            watcher.changed().await;
        }
    }

    /// Makes the parents of a znode, from the top down, in one flight that is sent at once; why the first that could not be
    /// made could not, if there is one.
    ///
    /// Most are there already, and one that is may still refuse to be made: only what is created below
    /// them tells whether they are there, and then this is the reason if they are not.
    pub(crate) fn make_parents<'a>(
        &'a self,
        parents: impl Iterator<Item = &'a str>,
        acls: zk::Acls<'_>,
        unacknowledged: &'a Unacknowledged,
    ) -> BoxFuture<'a, Option<zk::Error>> {
        let options = zk::CreateMode::Persistent.with_acls(acls);
        let writes = self.writes(unacknowledged);
        let making: Vec<_> = parents.map(|parent| writes.create(parent, b"", &options)).collect();
        Box::pin(async move {
            let refused = join_all(making).await.into_iter().filter_map(std::result::Result::err);
            refused.into_iter().find(|error| *error != zk::Error::NodeExists)
        })
    }

    /// A write that may have been done, or not, and this is all that can be told.
    pub(crate) fn connection_lost(&self, path: &str, unacknowledged: &Unacknowledged) -> Error {
        let consequence = unacknowledged.consequence();
        Error::ConnectionLost { hosts: self.identity.hosts(), path: path.to_owned(), consequence }
    }

    /// What an error of the client means for one who wanted to `action` the znode at `path`.
    pub(crate) fn failure(&self, error: &zk::Error, action: &'static str, path: &str) -> Failure {
        use zk::Error as E;
        match error {
            E::NoAuth => Failure::Final(Error::NoAuth { action, path: path.to_owned(), user: self.identity.user() }),
            E::AuthFailed => Failure::Final(auth_failed(&self.identity, path, why_refused(&self.identity))),
            E::SessionExpired | E::ClientClosed => Failure::Gone,
            E::InvalidAcl => {
                let reason = "the servers do not take its ACL: they have no such scheme, or its scheme no such id";
                Failure::Final(Error::Server { action, path: path.to_owned(), reason: reason.to_owned() })
            }
            error if is_refusal(error) => {
                Failure::Final(Error::Server { action, path: path.to_owned(), reason: error.to_string() })
            }
            _ if self.is_over() => Failure::Gone,
            _ => Failure::Lost,
        }
    }
}

pub(crate) fn auth_failed(identity: &Identity, path: &str, reason: &'static str) -> Error {
    Error::AuthFailed { hosts: identity.hosts(), path: path.to_owned(), user: identity.user(), reason }
}

/// What a created znode permits; an empty list is everything to everybody, as in kazoo.
pub(crate) fn acls(acl: &[zk::Acl]) -> zk::Acls<'_> {
    if acl.is_empty() {
        zk::Acls::anyone_all()
    } else {
        zk::Acls::new(acl)
    }
}
