//! A session, and what an error in it means. The only place that opens `zookeeper-client`.
//!
//! A session is the server-side lifetime that ephemeral znodes belong to; a connection is the TCP link under it.
//! The protocol client mends a lost connection. The next caller who needs a session replaces an expired one, in
//! [`client`](crate::client). Which callers share one is in [`shared`].

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{join_all, BoxFuture};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;
use zookeeper_client as zk;

use crate::connect::certificates::Material;
use crate::connect::credentials::Credentials;
#[cfg(feature = "gssapi")]
use crate::connect::kerberos::tickets;
use crate::connect::probe::{certain_failure, why_refused, Findings};
use crate::connect::settings::Identity;
use crate::error::{Error, Result};

mod failure;
mod owned;
pub mod shared;
mod silence;
mod writes;

pub(crate) use failure::{auth_failed, Attempt, Failure, Reply, PAUSE, UNCHANGED};
use owned::Owned;
use silence::Silence;
pub(crate) use writes::{Transaction, Unacknowledged, Writes};

/// How many addresses the client is given, by naming each as often as it takes.
const TRIES_A_PASS: usize = 12;

/// Why the servers may not know the user although they did not refuse the credentials.
pub(crate) const UNKNOWN: &str = "it knows no such user: SASL is off there, or lets in those who fail";

/// An open session. It hands out reads freely. Writes it hands out only with an account of those that no server has
/// answered.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    client: zk::Client,
    identity: Arc<Identity>,
    owned: Arc<Mutex<Owned>>,
    /// Cancelled when the session is about to be closed. It ends tasks in the background, which would keep the session
    /// open.
    closing: CancellationToken,
    silence: Arc<Silence>,
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

    /// The session, if the servers know its user. A server that does not do SASL lets everybody in, as anonymous.
    pub(crate) async fn checked(self) -> Reply<Option<Self>> {
        if !self.identity.credentials.as_ref().is_some_and(Credentials::is_sasl) {
            return Ok(Some(self));
        }
        let users = self.client.list_auth_users().await?;
        Ok(users.iter().any(|user| user.scheme() == "sasl").then_some(self))
    }

    fn new(client: zk::Client, identity: Arc<Identity>) -> Self {
        Self { client, identity, owned: Arc::default(), closing: CancellationToken::new(), silence: Arc::default() }
    }

    /// A token that is cancelled when the session is about to be closed.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// How long the servers keep the session while they hear nothing of it.
    pub(crate) fn timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    fn owned(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers, for as long as the session lives, a znode that this process has made, or is about to make. What the
    /// `key` stands for is the caller's affair.
    pub(crate) fn remember(&self, key: &str, name: &str) {
        self.owned().remember(key, name);
    }

    /// Forgets a znode that was remembered under a key.
    pub(crate) fn forget(&self, key: &str, name: &str) {
        self.owned().forget(key, name);
    }

    /// The znodes that are remembered under a key, in the order in which they were.
    pub(crate) fn remembered(&self, key: &str) -> Vec<String> {
        self.owned().remembered(key)
    }

    /// Keeps the session open for an ephemeral znode, even while no call uses the session.
    pub(crate) fn keep_for(&self, path: &str) {
        self.owned().rely_on(path);
    }

    /// Ends what [`Session::keep_for`] began.
    pub(crate) fn keep_no_more_for(&self, path: &str) {
        self.owned().rely_no_more_on(path);
    }

    /// Whether somebody relies on an ephemeral znode, which the servers remove when the session ends.
    pub(crate) fn is_relied_on(&self) -> bool {
        self.owned().is_relied_on()
    }

    /// Waits until the servers may have ended the session, because they have heard nothing of it for too long. The
    /// session asks them about `path` now and then, to know how long that is.
    pub(crate) async fn silent_for_too_long(&self, path: &str) {
        self.silence.lasts(self.timeout(), || self.check_stat(path)).await;
    }

    /// Waits until the server of this session shows all that the leader had when this was asked.
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

    /// The writes of the session, each sent at once. A write is unacknowledged until a server says what became of it.
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

    /// Makes the parents of a znode, from the top down, in one flight that is sent at once; why the first that could
    /// not be made could not, if there is one.
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

    /// The error for a write whose outcome cannot be found out.
    pub(crate) fn connection_lost(&self, path: &str, unacknowledged: &Unacknowledged) -> Error {
        let consequence = unacknowledged.consequence();
        Error::ConnectionLost { hosts: self.identity.hosts(), path: path.to_owned(), consequence }
    }

    /// What an error of the protocol client means for a request to `action` the znode at `path`.
    pub(crate) fn failure(&self, error: &zk::Error, action: &'static str, path: &str) -> Failure {
        failure::of(error, action, path, &self.identity, self.is_over())
    }
}
