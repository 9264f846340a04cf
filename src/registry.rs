//! Which calls of a process share a session, and when a session that nobody uses ends.
//!
//! Calls with the same servers, credentials and timeouts share one. Only very many that wait have a second
//! one, and so on: see [`WATCHED`].

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::watch;

use crate::session::Session;
use crate::settings::Identity;
use crate::wait::Cancel;

/// Bytes of paths that one session watches. After a lost connection the client renews up to 128 KiB of them with one
/// request, and more with several that it cannot tell apart: it hangs up over the second reply, until the session
/// has expired (zookeeper-client 0.11.2).
const WATCHED: usize = 100 * 1024;

/// Sessions of a process that stay open although nobody uses them. A program that goes through many users in a minute
/// would otherwise run into the servers' limit of connections from one address, which is 60 by default.
const MOST_IDLE: usize = 4;

/// The sessions of one process. It must not be used across a fork: a child makes its own.
#[derive(Debug, Default)]
pub struct Registry {
    slots: Mutex<HashMap<Arc<Identity>, Vec<Arc<Slot>>>>,
    /// How much is being tidied up for callers who have gone.
    background: watch::Sender<usize>,
    ending: Cancel,
    /// Leases of `lock` whose loss is to be told, and whether this process has unlocked them: that is no loss.
    unlocked: Mutex<HashMap<String, bool>>,
}

/// Where callers with one identity find their session.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) session: tokio::sync::Mutex<Option<Session>>,
    /// Whether somebody opens a session, with that lock: the one before is over.
    opening: watch::Sender<bool>,
    watched: AtomicUsize,
    users: AtomicUsize,
    last_used: Mutex<Instant>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            session: tokio::sync::Mutex::default(),
            opening: watch::Sender::default(),
            watched: AtomicUsize::default(),
            users: AtomicUsize::default(),
            last_used: Mutex::new(Instant::now()),
        }
    }
}

impl Slot {
    /// To be kept while a session is opened.
    pub(crate) fn opening(&self) -> Opening<'_> {
        self.opening.send_replace(true);
        Opening(self)
    }

    /// The session with this id, if it is not over. Who opens one may do so for as long as an outage lasts, and is not
    /// waited for.
    async fn session(&self, id: i64) -> Option<Session> {
        let mut opening = self.opening.subscribe();
        let held = tokio::select! {
            held = self.session.lock() => held,
            _ = opening.wait_for(|opening| *opening) => return None,
        };
        held.as_ref().filter(|session| session.id() == id && !session.is_over()).cloned()
    }

    fn has_room(&self, bytes: usize) -> bool {
        let watched = self.watched.load(Ordering::Relaxed);
        bytes == 0 || watched == 0 || watched + bytes <= WATCHED
    }

    /// How long nobody has used the session; zero while somebody does.
    fn idle_for(&self) -> Duration {
        if self.users.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Ends the session if nobody has used it for `limit`, and no ephemeral znode would go with it that somebody relies
    /// on. `false`: it is in use.
    async fn close_if_idle(&self, limit: Duration) -> bool {
        let mut held = self.session.lock().await;
        // A caller counts as a user before it asks for the session, and so is seen here.
        if self.users.load(Ordering::Acquire) > 0
            || self.idle_for() < limit
            || held.as_ref().is_some_and(Session::is_relied_on)
        {
            return false;
        }
        let idle = held.take();
        // A server that does not answer must not hold up those who want a new session.
        drop(held);
        if let Some(session) = idle {
            session.close().await;
        }
        true
    }
}

impl Registry {
    /// Room in the first slot that has it, for one who watches `bytes` of paths; who watches nothing has it anywhere.
    pub(crate) fn room(&self, identity: &Arc<Identity>, bytes: usize) -> Room {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = slots.entry(identity.clone()).or_default();
        let slot = slots.iter().find(|slot| slot.has_room(bytes)).cloned().unwrap_or_else(|| {
            slots.push(Arc::default());
            slots[slots.len() - 1].clone()
        });
        slot.users.fetch_add(1, Ordering::AcqRel);
        slot.watched.fetch_add(bytes, Ordering::Relaxed);
        Room { slot, bytes }
    }

    /// The session with this id, if it is not over. None is opened.
    pub(crate) async fn session(&self, identity: &Identity, id: i64) -> Option<Session> {
        let slots = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get(identity).cloned().unwrap_or_default()
        };
        for slot in slots {
            if let Some(session) = slot.session(id).await {
                return Some(session);
            }
        }
        None
    }

    /// Sees to the end of a session that was opened just now, once nobody has used it for `limit`; and at once to that of
    /// those which have been idle for longest, if they are many.
    pub(crate) fn tend(self: &Arc<Self>, slot: &Arc<Slot>, session: i64, limit: Duration) {
        let (registry, slot) = (Arc::downgrade(self), Arc::downgrade(slot));
        tokio::spawn(async move {
            if let Some(registry) = registry.upgrade() {
                registry.trim().await;
            }
            end_when_idle(&registry, &slot, session, limit).await;
        });
    }

    async fn trim(&self) {
        let mut idle: Vec<_> = self.all().into_iter().filter(|slot| slot.idle_for() > Duration::ZERO).collect();
        idle.sort_by_key(|slot| slot.idle_for());
        for slot in idle.into_iter().skip(MOST_IDLE) {
            slot.close_if_idle(Duration::ZERO).await;
        }
        drop(self.forget_unused());
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().flatten().cloned().collect()
    }

    /// From now on it is noted when this process unlocks a lease, until [`Registry::was_unlocked`] is asked.
    pub fn expect_unlock(&self, lease: String) {
        self.unlocked.lock().unwrap_or_else(PoisonError::into_inner).insert(lease, false);
    }

    /// Notes that this process is about to unlock a lease.
    pub(crate) fn unlocks(&self, lease: &str) {
        if let Some(unlocked) = self.unlocked.lock().unwrap_or_else(PoisonError::into_inner).get_mut(lease) {
            *unlocked = true;
        }
    }

    /// Whether this process has unlocked a lease since that was expected. It is asked once.
    pub(crate) fn was_unlocked(&self, lease: &str) -> bool {
        self.unlocked.lock().unwrap_or_else(PoisonError::into_inner).remove(lease).unwrap_or(false)
    }

    /// Runs what tidies up for a caller who has gone. It is cancelled when the process ends.
    pub(crate) fn in_background<F>(self: &Arc<Self>, work: impl FnOnce(Cancel) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.background.send_modify(|running| *running += 1);
        let (registry, work) = (self.clone(), work(self.ending.child()));
        tokio::spawn(async move {
            work.await;
            registry.background.send_modify(|running| *running -= 1);
        });
    }

    /// Ends all sessions, so that their ephemeral znodes go now and not with a timeout. Servers that
    /// cannot be told within `limit` find out by themselves.
    pub async fn close(&self, limit: Duration) {
        close_all(self.forget_unused(), limit).await;
    }

    /// As [`Registry::close`], at the end of the process: what still tidies up is waited for first, within the limit,
    /// and ended then.
    pub async fn finish(&self, limit: Duration) {
        let started = Instant::now();
        let mut running = self.background.subscribe();
        let _ = tokio::time::timeout(limit, running.wait_for(|running| *running == 0)).await;
        self.ending.cancel("the end of the process");
        self.close(limit.saturating_sub(started.elapsed())).await;
    }

    /// As [`Registry::close`], for the sessions of one identity.
    pub async fn close_one(&self, identity: &Identity, limit: Duration) {
        let slots = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get(identity).cloned().unwrap_or_default()
        };
        close_all(slots, limit).await;
        drop(self.forget_unused());
    }

    /// All slots. Of the identities, and so of the passwords, only those stay that somebody has room under, or that have
    /// a session.
    fn forget_unused(&self) -> Vec<Arc<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let all = slots.values().flatten().cloned().collect();
        slots.retain(|_, slots| {
            slots.iter().any(|slot| {
                let is_open = slot.session.try_lock().map_or(true, |session| session.is_some());
                is_open || slot.users.load(Ordering::Acquire) > 0
            })
        });
        all
    }
}

async fn close_all(slots: Vec<Arc<Slot>>, limit: Duration) {
    let closing = slots.into_iter().map(|slot| async move {
        if let Some(session) = slot.session.lock().await.take() {
            session.close().await;
        }
    });
    let _ = tokio::time::timeout(limit, join_all(closing)).await;
}

async fn end_when_idle(registry: &Weak<Registry>, slot: &Weak<Slot>, session: i64, limit: Duration) {
    let mut rest = limit;
    loop {
        tokio::time::sleep(rest).await;
        let Some(slot) = slot.upgrade() else { return };
        let is_this = slot.session.lock().await.as_ref().is_some_and(|open| open.id() == session && !open.is_over());
        if !is_this {
            return;
        }
        if slot.close_if_idle(limit).await {
            drop(slot);
            if let Some(registry) = registry.upgrade() {
                drop(registry.forget_unused());
            }
            return;
        }
        let left = limit.saturating_sub(slot.idle_for());
        rest = if left.is_zero() { limit } else { left };
    }
}

/// That a session is opened, until this is dropped.
pub(crate) struct Opening<'a>(&'a Slot);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.send_replace(false);
    }
}

/// Room in a session, until this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) slot: Arc<Slot>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.slot.watched.fetch_sub(self.bytes, Ordering::Relaxed);
        *self.slot.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.slot.users.fetch_sub(1, Ordering::AcqRel);
    }
}
