//! A session, and what an error in it means. The only place that opens `zookeeper-client`.
//!
//! A session is the server-side lifetime that ephemeral znodes belong to; a connection is the TCP link under it.
//! The protocol client mends a lost connection. The next caller who needs a session replaces an expired one, in
//! [`client`](crate::client). Which callers share one is in [`shared`].

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{join_all, BoxFuture};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;
use zookeeper_client as zk;

use crate::connect::apart::apart;
use crate::connect::credentials::Credentials;
use crate::connect::dialer::Dialer;
use crate::connect::dialing::dialed;
use crate::connect::findings::{certain_failure, why_refused, Findings};
#[cfg(feature = "gssapi")]
use crate::connect::kerberos::tickets;
use crate::connect::renewal::Certificates;
use crate::connect::settings::Identity;
use crate::error::{Error, Result};

mod failure;
mod lingering;
mod owned;
mod owner;
pub mod shared;
mod silence;
mod writes;

use failure::is_refusal;
pub(crate) use failure::{auth_failed, Attempt, Failure, Reply, PAUSE, UNCHANGED};
use owned::{Cleared, Owned};
pub(crate) use owner::Owner;
use silence::Silence;
pub(crate) use writes::{Transaction, Unacknowledged, Uncommitted, Writes};

/// How often each server is named to the protocol client, and how many names there are at most. It goes through its list
/// without a pause once, and pauses ever longer after that. The dialer has pauses of its own, and refuses those servers
/// that are not next; so the list has to last for as long as a session may be looked for.
const NAMED: usize = 32;
const MOST_NAMES: usize = 640;

/// Bytes that a request whether a znode exists has beside its path.
const EXISTS: usize = 13;

/// Why the servers may not know the user although they did not refuse the credentials.
pub(crate) const UNKNOWN: &str = "it knows no such user: SASL is off there, or lets in those who fail";

/// An open session. It hands out reads freely. Writes it hands out only with an account of those that no server has
/// answered.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    client: zk::Client,
    identity: Arc<Identity>,
    owned: Arc<Mutex<Owned>>,
    cleared: Arc<Mutex<Cleared>>,
    /// Cancelled when the session is about to be closed. It ends tasks in the background, which would keep the session
    /// open.
    closing: CancellationToken,
    silence: Arc<Silence>,
    /// Bytes of the longest request of one attempt.
    longest: Arc<AtomicUsize>,
    /// The session's connections, and for which of them, by number, its server was asked whether it knows the user.
    dialer: Arc<Dialer>,
    checked_for: Arc<AtomicU64>,
}

impl Session {
    /// Opens a session, however long it takes, unless it is certain that none of the servers can be used. `in_vain`: it is
    /// given up also where it is certain that none can be used now, though that may change.
    pub(crate) async fn open(identity: &Arc<Identity>, path: &str, findings: &Findings, in_vain: bool) -> Result<Self> {
        let dialer = Dialer::new(identity);
        findings.begin(dialer.clone());
        let started = Instant::now();
        let certificates = match identity.tls.clone() {
            None => None,
            Some(tls) => {
                // It takes long to decrypt a key.
                Some(Arc::new(apart(tls, |tls| Certificates::load(tls.clone())).await?))
            }
        };
        if let Some(certificates) = &certificates {
            dialer.renews(certificates.clone());
        }
        let certificates = certificates.as_deref();
        #[cfg(feature = "gssapi")]
        if identity.has_ticket() {
            tickets(identity, path, findings).await?;
        }
        tokio::select! {
            opened = Self::connect(identity, certificates, path, &dialer) => opened,
            failure = certain_failure(identity, certificates, findings) => failure.map(|never| match never {}),
            () = dialer.in_vain(), if in_vain => {
                let (hosts, waited) = (identity.hosts(), started.elapsed());
                Err(Error::Unreachable { hosts, waited, advice: findings.text(identity) })
            }
        }
    }

    async fn connect(
        identity: &Arc<Identity>,
        certificates: Option<&Certificates>,
        path: &str,
        dialer: &Arc<Dialer>,
    ) -> Result<Self> {
        let times = NAMED.min(MOST_NAMES / identity.servers.len()).max(2);
        let servers = identity.servers.iter().cycle().take(identity.servers.len() * times);
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
            dialer.opens();
            let connecting: BoxFuture<'_, Reply<zk::Client>> = match certificates {
                Some(certificates) => Box::pin(connector.with_tls(certificates.options()).secure_connect(&servers)),
                None => Box::pin(connector.connect(&servers)),
            };
            let checked = match dialed(dialer, connecting).await {
                Ok(client) => {
                    dialer.opened(client.state_watcher());
                    Self::new(client, identity.clone(), dialer.clone()).checked().await
                }
                Err(error) => Err(error),
            };
            let refused = |reason| Err(auth_failed(identity, path, reason));
            match checked {
                Ok(Some(session)) => {
                    let (id, user, timeout) = (session.id(), identity.user(), session.timeout().as_secs_f64());
                    log::info!("session {id:#x} of {user} is open; the servers keep it for {timeout} s of silence");
                    return Ok(session);
                }
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

    /// The session, if the servers know its user. A server that does not do SASL lets everybody in, as anonymous; each is
    /// asked once for each connection.
    pub(crate) async fn checked(self) -> Reply<Option<Self>> {
        if self.is_checked() {
            return Ok(Some(self));
        }
        let connection = self.dialer.connections.load(Ordering::Acquire);
        let users = self.client.list_auth_users().await?;
        let is_known = users.iter().any(|user| user.scheme() == "sasl");
        if is_known {
            self.checked_for.store(connection, Ordering::Release);
        }
        Ok(is_known.then_some(self))
    }

    /// Whether there is nothing to ask the server about its user.
    pub(crate) fn is_checked(&self) -> bool {
        !self.identity.credentials.as_ref().is_some_and(Credentials::is_sasl)
            || self.checked_for.load(Ordering::Acquire) == self.dialer.connections.load(Ordering::Acquire)
    }

    fn new(client: zk::Client, identity: Arc<Identity>, dialer: Arc<Dialer>) -> Self {
        Self {
            client,
            identity,
            owned: Arc::default(),
            cleared: Arc::default(),
            closing: CancellationToken::new(),
            silence: Arc::default(),
            longest: Arc::default(),
            dialer,
            checked_for: Arc::default(),
        }
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

    /// The same, for a znode whose name nobody uses again: the next session of the process deletes it, should the servers
    /// keep this session for longer than the process may rely on it.
    pub(crate) fn keep_for_alone(&self, path: &str) {
        self.owned().rely_alone_on(path);
    }

    fn relied_on_alone(&self) -> Vec<String> {
        self.owned().relied_on_alone()
    }

    /// Ends what [`Session::keep_for`] began.
    pub(crate) fn keep_no_more_for(&self, path: &str) {
        self.owned().rely_no_more_on(path);
    }

    /// Whether somebody relies on an ephemeral znode, which the servers remove when the session ends.
    pub(crate) fn is_relied_on(&self) -> bool {
        self.owned().is_relied_on()
    }

    /// The ephemeral znodes that somebody relies on, in order.
    #[cfg(feature = "python")]
    pub(crate) fn relied_on(&self) -> Vec<String> {
        self.owned().relied_on()
    }

    /// Waits until the servers may have ended the session, because they have heard nothing of it for too long. The
    /// session asks them about `path` now and then, to know how long that is. It is so much `early`, but not before half of
    /// the timeout. `since` is when the caller has begun to wait for that, in whatever attempt. The answer is when the
    /// servers may end it.
    pub(crate) async fn silent_for_too_long(&self, path: &str, since: Instant, early: Duration) -> Instant {
        let timeout = self.timeout();
        let early = early.min(timeout / 2);
        self.silence.lasts(timeout - early, since, || self.check_stat(path)).await + early
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

    /// The same session for one attempt, which keeps account of the length of its requests.
    pub(crate) fn for_attempt(&self) -> Self {
        Self { longest: Arc::default(), ..self.clone() }
    }

    /// Notes that a request of about so many bytes is about to be sent.
    pub(crate) fn sends(&self, bytes: usize) {
        self.longest.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Bytes of the longest request that was sent in this attempt.
    pub(crate) fn longest_sent(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// Bytes of the longest request that the servers are known, or said, to take.
    pub(crate) fn longest_request(&self) -> usize {
        self.identity.longest_request()
    }

    /// Asks for a znode that is not there, with a request of so many bytes: whether the server takes it. `None`: it has not
    /// answered anything.
    pub(crate) async fn takes(&self, bytes: usize) -> Option<bool> {
        let path = format!("/{}", "x".repeat(bytes.saturating_sub(EXISTS + 1)));
        match self.check_stat(&path).await {
            Ok(_) => Some(true),
            Err(error) if is_refusal(&error) => Some(true),
            Err(_) if self.connected().await && self.check_stat("/").await.is_ok() => Some(false),
            Err(_) => None,
        }
    }

    /// Several reads in one request.
    pub(crate) fn multi_reader(&self) -> zk::MultiReader<'_> {
        self.client.new_multi_reader()
    }

    /// The writes of the session, each sent at once. A write is unacknowledged until a server says what became of it.
    pub(crate) fn writes<'a>(&'a self, unacknowledged: &'a Unacknowledged) -> Writes<'a> {
        Writes { client: &self.client, longest: &self.longest, unacknowledged }
    }

    /// Who the caller is: `scheme:user`, or `anonymous`.
    pub(crate) fn user(&self) -> String {
        self.identity.user()
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

    /// What it means that a transaction was not carried out: the error names the operation that a server has refused.
    pub(crate) fn not_committed(&self, error: &Uncommitted) -> Failure {
        self.failure(&error.source, error.action, &error.path)
    }

    /// What an error of the protocol client means for a request to `action` the znode at `path`.
    pub(crate) fn failure(&self, error: &zk::Error, action: &'static str, path: &str) -> Failure {
        failure::of(error, action, path, &self.identity, self.is_over())
    }
}
