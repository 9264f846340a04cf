//! Which calls of a process share a session.
//!
//! Those with the same hosts, chroot, credentials and timeout do. Only very many that wait have a second
//! one, and so on: see [`WATCHED`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;

use crate::session::Session;
use crate::settings::Identity;

/// Bytes of paths that one session watches. After a lost connection the client renews up to 128 KiB of them with one
/// request, and more with several that it cannot tell apart: it hangs up over the second reply, until the session
/// has expired (zookeeper-client 0.11.2).
const WATCHED: usize = 100 * 1024;

/// Where the callers with one identity find their session.
pub(crate) type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;

/// The sessions of one process. It must not be used across a fork: a child makes its own.
#[derive(Debug, Default)]
pub struct Registry {
    slots: Mutex<HashMap<Arc<Identity>, Vec<Slot>>>,
    watched: Mutex<HashMap<Arc<Identity>, Vec<Arc<AtomicUsize>>>>,
}

impl Registry {
    /// The slot of an identity with a number; 0 is that of all who watch nothing, and of the first who do.
    pub(crate) fn slot(&self, identity: &Arc<Identity>, number: usize) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = slots.entry(identity.clone()).or_default();
        while slots.len() <= number {
            slots.push(Slot::default());
        }
        slots[number].clone()
    }

    /// Room in the first session that has it, for one who watches `bytes` of paths.
    pub(crate) fn room(&self, identity: &Arc<Identity>, bytes: usize) -> Room {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = watched.entry(identity.clone()).or_default();
        let has_room = |taken: usize| taken == 0 || taken + bytes <= WATCHED;
        let number = watched.iter().position(|taken| has_room(taken.load(Ordering::Relaxed)));
        let number = number.unwrap_or_else(|| {
            watched.push(Arc::default());
            watched.len() - 1
        });
        let taken = watched[number].clone();
        taken.fetch_add(bytes, Ordering::Relaxed);
        Room { number, bytes, taken }
    }

    /// Keeps only those identities, and so passwords, under which somebody still watches.
    fn forget_unused(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, taken| taken.iter().any(|taken| Arc::strong_count(taken) > 1));
    }

    /// Ends all sessions, so that their ephemeral znodes go now and not with a timeout. Servers that
    /// cannot be told within `limit` find out by themselves.
    pub async fn close(&self, limit: Duration) {
        let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        self.forget_unused();
        let closing = slots.into_values().flatten().map(|slot| async move {
            if let Some(session) = slot.lock().await.take() {
                session.close().await;
            }
        });
        let _ = tokio::time::timeout(limit, join_all(closing)).await;
    }
}

/// Room in a session, until this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    /// Of the session's slot.
    pub(crate) number: usize,
    bytes: usize,
    taken: Arc<AtomicUsize>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
