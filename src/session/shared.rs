//! Which calls of a process share a session, and when a session that nobody uses ends.
//!
//! Calls with the same servers, credentials and timeouts share one session. Where very many of them wait, they have
//! several: see `MOST_WATCHED`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::{watch, MutexGuard};

use super::Session;
use crate::connect::findings::Findings;
use crate::connect::settings::Identity;
use crate::wait::Cancel;

/// Bytes of the paths that one session watches at most. After a lost connection the protocol client renews up to 128
/// KiB of watches with one request, and more with several requests that it cannot tell apart: it hangs up over the
/// second reply, again and again until the session has expired (zookeeper-client 0.11.2).
const MOST_WATCHED: usize = 100 * 1024;

/// By what everything is cancelled at the end of a process, when nobody is left who could be told of it.
pub(crate) const PROCESS_ENDS: &str = "the end of the process";

/// Sessions of a process that stay open although nobody uses them. A program that goes through many users in a minute
/// would otherwise run into the servers' limit of connections from one address, which is 60 by default.
const MOST_IDLE: usize = 4;

/// The sessions of one process. A forked child must not use its parent's: it makes its own.
#[derive(Debug, Default)]
pub struct Sessions {
    shared: Mutex<HashMap<Arc<Identity>, Vec<Arc<SharedSession>>>>,
    /// How many tasks tidy up for callers who have gone.
    background: watch::Sender<usize>,
    ending: Cancel,
    /// How many tasks renew what this process holds, and what ends them.
    renewals: watch::Sender<usize>,
    renewing: Mutex<Cancel>,
    /// Znodes whose loss somebody waits for, and whether this process has removed them itself: that is no loss.
    removals: Mutex<HashMap<String, bool>>,
}

/// Where callers with one identity find their session.
#[derive(Debug)]
pub(crate) struct SharedSession {
    pub(crate) session: tokio::sync::Mutex<Option<Session>>,
    /// What is known against the servers, while a session is looked for.
    pub(crate) findings: Findings,
    /// Whether a caller opens a session, and holds the lock on `session`: the one before is over.
    opening: watch::Sender<bool>,
    watched: AtomicUsize,
    users: AtomicUsize,
    last_used: Mutex<Instant>,
    /// What the servers have been asked about the length of requests.
    pub(crate) lengths: Lengths,
}

/// How long a request may be, as far as the servers were asked.
#[derive(Debug, Default)]
pub(crate) struct Lengths {
    /// Bytes of the longest that they take.
    taken: AtomicUsize,
    /// Bytes of the shortest that they do not take; zero for none.
    refused: AtomicUsize,
}

impl Lengths {
    /// Whether the servers take a request of so many bytes, if that is known.
    pub(crate) fn known(&self, bytes: usize) -> Option<bool> {
        let refused = self.refused.load(Ordering::Relaxed);
        if refused > 0 && bytes >= refused {
            return Some(false);
        }
        (bytes <= self.taken.load(Ordering::Relaxed)).then_some(true)
    }

    /// Notes what the servers have said.
    pub(crate) fn note(&self, bytes: usize, is_taken: bool) {
        if is_taken {
            self.taken.fetch_max(bytes, Ordering::Relaxed);
        } else {
            self.refused.store(bytes, Ordering::Relaxed);
        }
    }
}

impl Default for SharedSession {
    fn default() -> Self {
        Self {
            session: tokio::sync::Mutex::default(),
            findings: Findings::default(),
            opening: watch::Sender::default(),
            watched: AtomicUsize::default(),
            users: AtomicUsize::default(),
            last_used: Mutex::new(Instant::now()),
            lengths: Lengths::default(),
        }
    }
}

impl SharedSession {
    /// To be kept while a session is opened.
    pub(crate) fn opening(&self) -> Opening<'_> {
        self.opening.send_replace(true);
        Opening(self)
    }

    /// The session, if there is one, for as long as it is needed; `None` while somebody opens one. That may last as long
    /// as an outage does, and is not waited for.
    async fn unless_opening(&self) -> Option<MutexGuard<'_, Option<Session>>> {
        let mut opening = self.opening.subscribe();
        tokio::select! {
            biased;
            held = self.session.lock() => Some(held),
            _ = opening.wait_for(|opening| *opening) => None,
        }
    }

    /// The session, if there is one; where somebody opens one, once that is done.
    async fn opened(&self) -> Option<MutexGuard<'_, Option<Session>>> {
        Some(self.session.lock().await)
    }

    /// The session with this id, if it is not over.
    async fn with_id(&self, id: i64) -> Option<Session> {
        let held = self.unless_opening().await?;
        held.as_ref().filter(|session| session.id() == id && !session.is_over()).cloned()
    }

    fn can_watch(&self, bytes: usize) -> bool {
        let watched = self.watched.load(Ordering::Relaxed);
        bytes == 0 || watched == 0 || watched + bytes <= MOST_WATCHED
    }

    /// How long nobody has used the session; zero while somebody does.
    fn idle_for(&self) -> Duration {
        if self.users.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Ends the session if nobody has used it for `limit`, and if nobody relies on an ephemeral znode that the servers
    /// would remove with it. `false`: the session is in use.
    async fn close_if_idle(&self, limit: Duration) -> bool {
        let Some(mut held) = self.unless_opening().await else { return false };
        // A caller counts as a user before it asks for the session, and so is seen here.
        if self.users.load(Ordering::Acquire) > 0
            || self.idle_for() < limit
            || held.as_ref().is_some_and(Session::is_relied_on)
        {
            return false;
        }
        let idle = held.take();
        // Callers who want a new session must not wait for a server that does not answer.
        drop(held);
        if let Some(session) = idle {
            session.close().await;
        }
        true
    }
}

impl Sessions {
    /// Reserves `bytes` of watched paths in the first session that has enough left. A caller that watches nothing
    /// shares the first session.
    pub(crate) fn reserve(&self, identity: &Arc<Identity>, bytes: usize) -> Reservation {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = shared.entry(identity.clone()).or_default();
        let session = sessions.iter().find(|session| session.can_watch(bytes)).cloned().unwrap_or_else(|| {
            sessions.push(Arc::default());
            sessions[sessions.len() - 1].clone()
        });
        session.users.fetch_add(1, Ordering::AcqRel);
        session.watched.fetch_add(bytes, Ordering::Relaxed);
        Reservation { shared: session, bytes }
    }

    /// The session with this id, if it is not over. None is opened.
    pub(crate) async fn existing(&self, identity: &Identity, id: i64) -> Option<Session> {
        for shared in self.of(identity) {
            if let Some(session) = shared.with_id(id).await {
                return Some(session);
            }
        }
        None
    }

    /// Looks after a session that was opened just now: it ends once nobody has used it for `limit`. Where too many
    /// sessions are idle, those that have been so for longest end at once.
    pub(crate) fn tend(self: &Arc<Self>, shared: &Arc<SharedSession>, session: i64, limit: Duration) {
        let (sessions, shared) = (Arc::downgrade(self), Arc::downgrade(shared));
        tokio::spawn(async move {
            if let Some(sessions) = sessions.upgrade() {
                sessions.trim().await;
            }
            end_when_idle(&sessions, &shared, session, limit).await;
        });
    }

    async fn trim(&self) {
        let mut idle: Vec<_> = self.all().into_iter().filter(|shared| shared.idle_for() > Duration::ZERO).collect();
        idle.sort_by_key(|shared| shared.idle_for());
        for shared in idle.into_iter().skip(MOST_IDLE) {
            shared.close_if_idle(Duration::ZERO).await;
        }
        drop(self.forget_unused());
    }

    fn all(&self) -> Vec<Arc<SharedSession>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.values().flatten().cloned().collect()
    }

    fn of(&self, identity: &Identity) -> Vec<Arc<SharedSession>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.get(identity).cloned().unwrap_or_default()
    }

    /// The ephemeral znodes of all sessions that somebody relies on, and how long the servers keep the session of each.
    /// Nothing is waited for, nor woken: the runtime may be one that must not be used any more.
    #[cfg(feature = "python")]
    pub(crate) fn relied_on(&self) -> Vec<(String, Duration)> {
        let mut found = Vec::new();
        for shared in self.all() {
            if let Some(session) = shared.session.try_lock().ok().and_then(|held| held.clone()) {
                let timeout = session.timeout();
                found.extend(session.relied_on().into_iter().map(|path| (path, timeout)));
                // Its end would be a request.
                std::mem::forget(session);
            }
        }
        found
    }

    /// From now on the process notes when it removes a znode itself, until it is asked about that.
    pub fn expect_removal(&self, path: String) {
        self.removals.lock().unwrap_or_else(PoisonError::into_inner).insert(path, false);
    }

    /// Notes that this process is about to remove a znode because its owner wants that.
    pub(crate) fn removes(&self, path: &str) {
        if let Some(removed) = self.removals.lock().unwrap_or_else(PoisonError::into_inner).get_mut(path) {
            *removed = true;
        }
    }

    /// Whether this process has removed a znode since that was expected. It is asked once.
    pub(crate) fn has_removed(&self, path: &str) -> bool {
        self.removals.lock().unwrap_or_else(PoisonError::into_inner).remove(path).unwrap_or(false)
    }

    /// Runs a task that tidies up for a caller who has gone. It is cancelled when the process ends.
    pub(crate) fn in_background<F>(self: &Arc<Self>, work: impl FnOnce(Cancel) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        counted(&self.background, work(self.ending.child()));
    }

    /// Runs a task that renews what this process holds. It is cancelled, and waited for, before the sessions end.
    pub(crate) fn renewing<F>(self: &Arc<Self>, work: impl FnOnce(Cancel) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let cancel = self.renewing.lock().unwrap_or_else(PoisonError::into_inner).child();
        counted(&self.renewals, work(cancel));
    }

    /// Ends the renewals, within the limit. Later ones may begin.
    async fn end_renewals(&self, limit: Duration, by: &'static str) {
        let renewing = std::mem::take(&mut *self.renewing.lock().unwrap_or_else(PoisonError::into_inner));
        renewing.cancel(by);
        let mut running = self.renewals.subscribe();
        let _ = tokio::time::timeout(limit, running.wait_for(|running| *running == 0)).await;
    }

    /// Ends all sessions, so that the servers remove their ephemeral znodes now, and not after a session timeout. A
    /// server that cannot be told within `limit` finds out by that timeout.
    pub async fn close(&self, limit: Duration) {
        let started = Instant::now();
        self.end_renewals(limit, "the end of the sessions").await;
        let left = limit.saturating_sub(started.elapsed());
        close_all(self.forget_unused(), left, SharedSession::unless_opening).await;
    }

    /// As [`Sessions::close`], at the end of the process: tasks in the background are waited for first, within the
    /// limit, and cancelled then.
    pub async fn finish(&self, limit: Duration) {
        let started = Instant::now();
        self.end_renewals(limit, PROCESS_ENDS).await;
        let mut running = self.background.subscribe();
        let left = limit.saturating_sub(started.elapsed());
        let _ = tokio::time::timeout(left, running.wait_for(|running| *running == 0)).await;
        self.ending.cancel(PROCESS_ENDS);
        // A call that has begun at the last moment may take an ephemeral lease in the session that it opens.
        let left = limit.saturating_sub(started.elapsed());
        close_all(self.forget_unused(), left, SharedSession::opened).await;
    }

    /// As [`Sessions::close`], for the sessions of one identity.
    pub async fn close_one(&self, identity: &Identity, limit: Duration) {
        close_all(self.of(identity), limit, SharedSession::unless_opening).await;
        drop(self.forget_unused());
    }

    /// As [`Sessions::close_one`], for those sessions that nobody uses, and on whose ephemeral znodes nobody relies.
    pub async fn close_unused(&self, identity: &Identity, limit: Duration) {
        let closing =
            self.of(identity).into_iter().map(|shared| async move { shared.close_if_idle(Duration::ZERO).await });
        let _ = tokio::time::timeout(limit, join_all(closing)).await;
        drop(self.forget_unused());
    }

    /// All shared sessions. Identities, and so passwords, stay only where somebody has a reservation, or where a
    /// session is open.
    fn forget_unused(&self) -> Vec<Arc<SharedSession>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let all = shared.values().flatten().cloned().collect();
        shared.retain(|_, sessions| {
            sessions.iter().any(|shared| {
                let is_open = shared.session.try_lock().map_or(true, |session| session.is_some());
                is_open || shared.users.load(Ordering::Acquire) > 0
            })
        });
        all
    }
}

/// Starts a task that counts as `running` until it ends.
fn counted(running: &watch::Sender<usize>, work: impl Future<Output = ()> + Send + 'static) {
    running.send_modify(|running| *running += 1);
    let running = running.clone();
    tokio::spawn(async move {
        work.await;
        running.send_modify(|running| *running -= 1);
    });
}

/// Ends sessions, which `held` waits for.
async fn close_all(
    shared: Vec<Arc<SharedSession>>,
    limit: Duration,
    held: impl for<'a> AsyncFn(&'a SharedSession) -> Option<MutexGuard<'a, Option<Session>>>,
) {
    let held = &held;
    let closing = shared.into_iter().map(|shared| async move {
        let open = held(&shared).await.and_then(|mut held| held.take());
        if let Some(session) = open {
            session.close().await;
        }
    });
    let _ = tokio::time::timeout(limit, join_all(closing)).await;
}

async fn end_when_idle(sessions: &Weak<Sessions>, shared: &Weak<SharedSession>, session: i64, limit: Duration) {
    let mut pause = limit;
    loop {
        tokio::time::sleep(pause).await;
        let Some(shared) = shared.upgrade() else { return };
        let is_this = shared.session.lock().await.as_ref().is_some_and(|open| open.id() == session && !open.is_over());
        if !is_this {
            return;
        }
        if shared.close_if_idle(limit).await {
            drop(shared);
            if let Some(sessions) = sessions.upgrade() {
                drop(sessions.forget_unused());
            }
            return;
        }
        let remaining = limit.saturating_sub(shared.idle_for());
        pause = if remaining.is_zero() { limit } else { remaining };
    }
}

/// Says that a session is being opened, until this is dropped.
pub(crate) struct Opening<'a>(&'a SharedSession);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.send_replace(false);
    }
}

/// A caller's share in a session, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) shared: Arc<SharedSession>,
    /// Bytes of the paths that the caller watches at one time.
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.watched.fetch_sub(self.bytes, Ordering::Relaxed);
        *self.shared.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.shared.users.fetch_sub(1, Ordering::AcqRel);
    }
}
