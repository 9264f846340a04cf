//! The connections of a session: to which server, and what was seen of those that cannot be used.
//!
//! The protocol client goes through its list in an order of its own, and calls [`Dialer::dial`] for each server there. The
//! dialer refuses a server at once that is not next ([`Choice`]), so that the client goes on; its list names each server often
//! enough for that.
//!
//! | what happens to a server | how it is noticed | after |
//! | --- | --- | --- |
//! | it refuses, its name is unknown | by the connection's error | at once |
//! | it takes the connection and closes it | by the end of the stream | at once |
//! | it is stopped, or a filter drops its packets, while we connect | another server answers a probe, and this one does not | [`overdue`], twice |
//! | the same, while there is a session | the protocol client hears nothing | 2/5 of the session's timeout |
//! | it sends a byte a second | a reply does not get on | [`STALLED`] |
//!
//! A slow server is not left: it answers a probe as well as the others do. Probes are sent only when an answer is overdue, so
//! that servers that are well see none. And when a session's connection was given up, and not closed by its server, much of
//! the session's time is gone: all others are asked first, and the session goes to the one that answers soonest. A session
//! of 4 seconds whose next server was in the same trouble was lost otherwise.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_net::Stream;
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{watch, Notify};
use tokio::time::{sleep, timeout};
use zookeeper_client as zk;

use crate::connect::attempt::{Attempt, Dials};
use crate::connect::choice::{Choice, Turn};
use crate::connect::probe::{probe, Probed};
use crate::connect::renewal::Certificates;
use crate::connect::resolver::resolve;
use crate::connect::seen::Seen;
use crate::connect::settings::Identity;
use crate::connect::wire::Wire;

/// How long a server may take to answer before others are asked as well: a part of the session's timeout.
const OVERDUE: u32 = 20;
const LEAST_OVERDUE: Duration = Duration::from_millis(100);
const MOST_OVERDUE: Duration = Duration::from_millis(500);
/// How long a reply may take to get on: a part of the session's timeout, and no longer than a call can spare.
const STALLED: u32 = 5;
const MOST_STALLED: Duration = Duration::from_secs(2);
/// How long a session lasts at a server that has not failed. One that takes a session and closes its connection at once
/// has, and would else be tried again and again without a pause.
const LASTING: Duration = Duration::from_secs(1);
/// How long all servers have to serve others and to close the session's connections, before it counts as lost.
const DISOWNED_AFTER: Duration = Duration::from_secs(3);
/// Rounds in which no server can be used, before that is certain.
const ROUNDS_IN_VAIN: u64 = 2;
const HURRY_EVERY: Duration = Duration::from_secs(1);
/// The longest that a server may take to answer a probe while another one answers at once.
const MOST_OWN_PROBE: Duration = Duration::from_secs(1);

/// How long a server may take to answer before others are asked as well.
fn overdue(session_timeout: Duration) -> Duration {
    (session_timeout / OVERDUE).clamp(LEAST_OVERDUE, MOST_OVERDUE)
}

/// A server as the protocol client names it.
type Server = (String, u16);

/// Makes the connections of one session.
pub(crate) struct Dialer {
    servers: Vec<Server>,
    session_timeout: Duration,
    speaks_tls: bool,
    /// What TLS is spoken with. It is to be looked at before each connection.
    certificates: OnceLock<Arc<Certificates>>,
    state: Mutex<State>,
    /// Tells that something was seen.
    changes: watch::Sender<()>,
    /// Ends a pause between two rounds.
    hurry: Notify,
    /// How many connections it has made. A session has one at a time: while the number stays, so does its server.
    pub(crate) connections: std::sync::atomic::AtomicU64,
}

struct State {
    choice: Choice<SocketAddr>,
    /// What was seen last of each server that could not be used.
    seen: Vec<Option<Seen>>,
    round: Round,
    /// Rounds that have ended, and the last of them in which something was seen that may pass by waiting.
    rounds: u64,
    last_uncertain: u64,
    /// When somebody was in a hurry.
    hurried: Option<Instant>,
    /// Whether a thread resolves the name of each server.
    is_resolving: Vec<bool>,
    /// The addresses of each server, as they were resolved last.
    resolved: Vec<Vec<SocketAddr>>,
    /// Of the session, once it is open.
    session: Option<zk::StateWatcher>,
    /// The session's connection was given up, and which server serves is to be asked first.
    given_up: Option<SocketAddr>,
    /// Since when all servers close the session's connections at once, and serve others.
    disowned_since: Option<Instant>,
}

/// The round of tries that is under way.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// Something was seen that may pass by waiting.
    is_uncertain: bool,
    /// All have failed, and the round is counted.
    is_counted: bool,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Dialer {
    /// For a session with these servers, each `host:port`, and this timeout.
    pub(crate) fn new(identity: &Identity) -> Arc<Self> {
        let session_timeout = identity.session_timeout;
        let split = |server: &String| {
            let (host, port) = server.rsplit_once(':').unwrap_or((server, ""));
            (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or_default())
        };
        let servers: Vec<Server> = identity.servers.iter().map(split).collect();
        let state = State {
            choice: Choice::new(servers.len(), session_timeout),
            seen: vec![None; servers.len()],
            resolved: vec![Vec::new(); servers.len()],
            session: None,
            given_up: None,
            disowned_since: None,
            round: Round::default(),
            rounds: 0,
            last_uncertain: 0,
            hurried: None,
            is_resolving: vec![false; servers.len()],
        };
        Arc::new(Self {
            servers,
            session_timeout,
            speaks_tls: identity.tls.is_some(),
            certificates: OnceLock::new(),
            state: Mutex::new(state),
            changes: watch::Sender::default(),
            hurry: Notify::new(),
            connections: std::sync::atomic::AtomicU64::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on these certificates are read again before a connection, if their files have changed.
    pub(crate) fn renews(&self, certificates: Arc<Certificates>) {
        let _ = self.certificates.set(certificates);
    }

    /// Why the certificates that are in the files now are not used, where that is so.
    pub(crate) fn refused_certificates(&self) -> Option<String> {
        self.certificates.get()?.refused()
    }

    /// The session is open. From here on its state tells whether a connection has become one of the session's.
    pub(crate) fn opened(&self, session: zk::StateWatcher) {
        self.state().session = Some(session);
        self.established();
    }

    /// A session is about to be opened: what was known of one before does not count.
    pub(crate) fn opens(&self) {
        let mut state = self.state();
        (state.session, state.disowned_since) = (None, None);
    }

    /// What was seen last of each server that cannot be used, in the order of the servers.
    pub(crate) fn seen(&self) -> Vec<Option<Seen>> {
        self.state().seen.clone()
    }

    /// Waits until it is certain that no server can be used now: in two rounds since this was called each address of each
    /// server was tried, and what was seen does not depend on how long one waits.
    pub(crate) async fn in_vain(&self) {
        let start = self.state().rounds;
        let mut changes = self.changes.subscribe();
        let _ = changes
            .wait_for(|()| {
                let state = self.state();
                state.rounds - start.max(state.last_uncertain) >= ROUNDS_IN_VAIN
            })
            .await;
    }

    /// Somebody has come who wants an answer soon: there is no pause before the next try. Callers who come one after the
    /// other have their tries once a second.
    pub(crate) fn hurry(&self) {
        let mut state = self.state();
        let now = Instant::now();
        if state.hurried.is_some_and(|before| now.saturating_duration_since(before) < HURRY_EVERY) {
            return;
        }
        state.hurried = Some(now);
        state.choice.hurry();
        drop(state);
        self.hurry.notify_waiters();
    }

    /// Counts the round in which all have failed, once.
    fn end_round(&self) {
        let mut state = self.state();
        if std::mem::replace(&mut state.round.is_counted, true) {
            return;
        }
        state.rounds += 1;
        if state.round.is_uncertain {
            state.last_uncertain = state.rounds;
        }
        drop(state);
        self.changes.send_replace(());
    }

    /// Waits until it is certain that the servers will not let the session be taken up again: they serve, and close its
    /// connections. So does an ensemble whose data were lost, or brought back from an older copy: a client that has seen
    /// newer data is sent away, by all of its servers.
    pub(crate) async fn disowned(&self) {
        let mut changes = self.changes.subscribe();
        let is_long = |since: Instant| since.elapsed() >= DISOWNED_AFTER;
        let _ = changes.wait_for(|()| self.state().disowned_since.is_some_and(is_long)).await;
    }

    /// Finds out, when all servers have failed, whether they do not want the session. A name with several addresses says
    /// nothing: which of them was tried, and which answers, may be two servers.
    async fn find_disowning(&self) {
        let all_close = {
            let state = self.state();
            state.session.is_some()
                && state.resolved.iter().all(|addresses| addresses.len() == 1)
                && state.seen.iter().all(|seen| *seen == Some(Seen::ClosedAtOnce))
        };
        let limit = self.session_timeout / 10;
        let serving = if all_close {
            let asking = (0..self.servers.len()).map(|server| async move {
                let addresses = self.state().resolved[server].clone();
                let asking = addresses.into_iter().map(|address| probe(address, limit));
                join_all(asking).await.contains(&Probed::Serves)
            });
            join_all(asking).await.into_iter().filter(|serves| *serves).count()
        } else {
            0
        };
        let mut state = self.state();
        let is_disowned = 2 * serving > self.servers.len();
        state.disowned_since = state.disowned_since.or_else(|| Some(Instant::now())).filter(|_| is_disowned);
        drop(state);
        self.changes.send_replace(());
    }

    fn note(&self, server: usize, seen: Seen) {
        let mut state = self.state();
        state.round.is_uncertain |= !seen.is_certain();
        state.seen[server] = Some(seen);
        drop(state);
        self.changes.send_replace(());
    }

    /// Which of the session's servers this is.
    pub(crate) fn position(&self, host: &str, port: u16) -> Option<usize> {
        self.servers.iter().position(|(name, number)| name == host && *number == port)
    }

    /// Connects to a server, if it is the one that is next.
    pub(crate) async fn connect(self: Arc<Self>, server: usize) -> io::Result<Box<dyn Stream>> {
        let given_up = self.state().given_up.take();
        if let Some(address) = given_up {
            self.find_another(address).await;
        }
        let turn = self.state().choice.turn(server, fastrand::f64());
        match turn {
            Turn::Now => {}
            Turn::Another => return Err(another_is_next().await),
            Turn::After(pause) => {
                self.end_round();
                // Whoever comes meanwhile wants to know whether it is still so.
                let _ = timeout(pause, self.hurry.notified()).await;
                self.find_disowning().await;
                let turn = {
                    let mut state = self.state();
                    state.choice.begin_round();
                    state.round = Round::default();
                    state.choice.turn(server, 0.0)
                };
                if turn != Turn::Now {
                    return Err(another_is_next().await);
                }
            }
        }
        if let Some(certificates) = self.certificates.get() {
            certificates.renew(overdue(self.session_timeout)).await;
        }
        let found = self.resolve(server).await?;
        let address = self.state().choice.address(server, &found, fastrand::f64());
        let Some(address) = address else { return Err(another_is_next().await) };
        let mut attempt = Attempt::new(self.clone(), server, address);
        let stream = tokio::select! {
            biased;
            connected = TcpStream::connect(address) => connected,
            () = self.clone().another_serves(address) => Err(ErrorKind::TimedOut.into()),
        };
        let stream = stream.inspect_err(|error| {
            if error.kind() != ErrorKind::TimedOut {
                attempt.seen = Seen::of_connecting(error);
            }
        })?;
        // A request is one small segment and waits for its reply: Nagle's algorithm would hold the second request of a
        // pipeline back until the first is acknowledged.
        stream.set_nodelay(true)?;
        attempt.seen = Seen::Silent;
        let silence = Box::pin(self.clone().another_serves(address));
        let reply_limit = (!self.speaks_tls).then_some((self.session_timeout / STALLED).min(MOST_STALLED));
        Ok(Box::new(Wire::new(stream, attempt, silence, reply_limit)))
    }

    /// The addresses of a server, or, if its name cannot be resolved now, those that it had before.
    async fn resolve(self: &Arc<Self>, server: usize) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = &self.servers[server];
        if let Ok(address) = host.parse::<IpAddr>() {
            let addresses = vec![SocketAddr::new(address, *port)];
            self.state().resolved[server].clone_from(&addresses);
            return Ok(addresses);
        }
        let before = self.state().resolved[server].clone();
        if before.is_empty() {
            self.state().seen[server] = Some(Seen::Resolving);
        }
        while std::mem::replace(&mut self.state().is_resolving[server], true) {
            if !before.is_empty() {
                return Ok(before);
            }
            sleep(overdue(self.session_timeout)).await;
        }
        // A task, so that an answer which comes late is not lost, and no second thread asks meanwhile.
        let this = self.clone();
        let resolving = tokio::spawn(async move {
            let (host, port) = &this.servers[server];
            let resolved = resolve(host, *port).await;
            let mut state = this.state();
            state.is_resolving[server] = false;
            if let Ok(addresses) = &resolved {
                state.resolved[server].clone_from(addresses);
            }
            drop(state);
            resolved
        });
        let resolving = async { resolving.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) };
        let resolved = match before.is_empty() {
            true => resolving.await,
            false => timeout(overdue(self.session_timeout), resolving).await.unwrap_or_else(|_| Ok(before.clone())),
        };
        match resolved {
            Ok(addresses) => Ok(addresses),
            Err(_) if !before.is_empty() => Ok(before),
            Err(error) => {
                self.note(server, Seen::of_resolving(&error));
                self.state().choice.name_failed(server);
                Err(error)
            }
        }
    }

    /// Returns when an answer is overdue, the address does not answer a probe either, and another one does as a server
    /// does that serves. That other is next then.
    async fn another_serves(self: Arc<Self>, address: SocketAddr) {
        let (overdue, limit) = (overdue(self.session_timeout), self.session_timeout / 5);
        let own = limit.min(MOST_OWN_PROBE).max(overdue);
        let mut pause = overdue;
        loop {
            sleep(pause).await;
            // Servers in trouble are asked ever more seldom, and by a fleet not all at once.
            pause = (pause * 2).min(limit).mul_f64(0.75 + fastrand::f64() / 4.0);
            if probe(address, own).await.serves(self.speaks_tls) {
                // It is slow, as perhaps they all are, and needs no more work.
                continue;
            }
            if self.find_another(address).await {
                return;
            }
        }
    }

    /// Asks all addresses but one, and lets the first that answers as a server that serves be next; whether there is one.
    async fn find_another(&self, address: SocketAddr) -> bool {
        let (others, limit) = (0..self.servers.len(), self.session_timeout / 5);
        let mut others: FuturesUnordered<_> =
            others.map(|other| async move { (other, self.one_that_serves(other, address, limit).await) }).collect();
        while let Some((other, found)) = others.next().await {
            if let Some(found) = found {
                self.state().choice.prefer(other, found);
                return true;
            }
        }
        false
    }

    /// The first address of a server, other than `but`, that answers a probe as a server does that serves.
    async fn one_that_serves(&self, server: usize, but: SocketAddr, limit: Duration) -> Option<SocketAddr> {
        let (host, port) = &self.servers[server];
        let before = self.state().resolved[server].clone();
        let found = match before.is_empty() {
            true => timeout(limit, resolve(host, *port)).await.ok()?.ok()?,
            false => before,
        };
        let probing = found.into_iter().filter(|address| *address != but);
        let mut probing: FuturesUnordered<_> =
            probing.map(|address| async move { (address, probe(address, limit).await) }).collect();
        while let Some((address, probed)) = probing.next().await {
            if probed.serves(self.speaks_tls) {
                return Some(address);
            }
        }
        None
    }
}

/// The error that makes the protocol client go on. It goes on at once, and looks at no clock: so others have their turn
/// first.
async fn another_is_next() -> io::Error {
    tokio::task::yield_now().await;
    io::Error::new(ErrorKind::WouldBlock, "another server is next")
}

impl Dials for Dialer {
    fn named(&self, server: usize, address: SocketAddr) -> String {
        let (host, port) = &self.servers[server];
        if host.parse::<IpAddr>().is_ok() {
            return address.to_string();
        }
        format!("{host}:{port} ({address})")
    }

    fn is_established(&self) -> bool {
        self.state().session.as_ref().is_some_and(|session| session.peek_state() == zk::SessionState::SyncConnected)
    }

    fn established(&self) {
        let mut state = self.state();
        state.seen.fill(None);
        (state.disowned_since, state.round) = (None, Round::default());
    }

    fn is_over(&self) -> bool {
        self.state().session.as_ref().is_some_and(|session| session.peek_state().is_terminated())
    }

    fn over(&self, attempt: &Attempt<Self>) {
        self.note(attempt.server, attempt.seen.clone());
        let mut state = self.state();
        if let Some(established) = attempt.established {
            if established.elapsed() >= LASTING {
                state.choice.connected();
            }
            state.given_up = (!attempt.has_ended).then_some(attempt.address);
        }
        state.choice.failed(attempt.server, &attempt.address);
    }
}
