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

/// The sessions of one process. It must not be used across a fork: a child makes its own.
#[derive(Debug, Default)]
pub struct Registry {
    slots: Mutex<HashMap<Arc<Identity>, Vec<Arc<Slot>>>>,
}

/// Where callers with one identity find their session.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) session: tokio::sync::Mutex<Option<Session>>,
    watched: AtomicUsize,
}

impl Slot {
    fn has_room(&self, bytes: usize) -> bool {
        let watched = self.watched.load(Ordering::Relaxed);
        bytes == 0 || watched == 0 || watched + bytes <= WATCHED
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
        slot.watched.fetch_add(bytes, Ordering::Relaxed);
        Room { slot, bytes }
    }

    /// Ends all sessions, so that their ephemeral znodes go now and not with a timeout. Servers that
    /// cannot be told within `limit` find out by themselves.
    pub async fn close(&self, limit: Duration) {
        let closing = self.forget_unused().into_iter().map(|slot| async move {
            if let Some(session) = slot.session.lock().await.take() {
                session.close().await;
            }
        });
        let _ = tokio::time::timeout(limit, join_all(closing)).await;
    }

    /// All slots. Of the identities, and so of the passwords, only those stay that somebody has room under.
    fn forget_unused(&self) -> Vec<Arc<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        slots.retain(|_, slots| {
            let is_used = slots.iter().any(|slot| Arc::strong_count(slot) > 1);
            all.extend(slots.iter().cloned());
            is_used
        });
        all
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
    }
}
