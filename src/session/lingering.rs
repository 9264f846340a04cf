//! What a session leaves at the servers that its client has given up.
//!
//! A client counts its session as over when it has heard nothing of the servers for the session's time. The servers may
//! keep it for longer: they heard of it although it did not hear of them, or a new leader has begun to count anew. Its
//! ephemeral znodes then stay for nobody: a lease, beside which the same caller takes another one in its next session,
//! would block the pool after that caller has given the slot back.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{join, join_all};

use super::owned::Cleared;
use super::{Session, Unacknowledged};

/// How long callers wait for this before they get the new session. What is left then goes with the old one.
const CLEARING: Duration = Duration::from_secs(1);

impl Session {
    /// Deletes the ephemeral znodes of an earlier session of this process on which somebody has relied, of those whose
    /// names nobody uses again: at any other path somebody else's znode may be by now.
    pub(crate) async fn clear_after(&self, earlier: &Session) {
        let (paths, unacknowledged) = (earlier.relied_on_alone(), Unacknowledged::new(""));
        let clearing = paths.iter().map(|path| {
            let unacknowledged = &unacknowledged;
            async move {
                let (_, stat) = join(self.sync(path), self.check_stat(path)).await;
                let sent = Instant::now();
                if stat.ok().flatten().is_some_and(|stat| stat.ephemeral_owner == earlier.id())
                    && self.writes(unacknowledged).delete(path, None).await.is_ok()
                {
                    self.cleared().deleted.insert(path.clone(), sent);
                }
            }
        });
        self.cleared().earlier = Some((earlier.id(), earlier.owned.clone()));
        let _ = tokio::time::timeout(CLEARING, join_all(clearing)).await;
    }

    /// What was remembered in the session before this one, under the key that its id gives. It is told once.
    pub(crate) fn take_remembered_before(&self, key: impl FnOnce(i64) -> String) -> Vec<String> {
        let Some((id, owned)) = self.cleared().earlier.clone() else { return Vec::new() };
        let (key, mut owned) = (key(id), owned.lock().unwrap_or_else(PoisonError::into_inner));
        let names = owned.remembered(&key);
        names.iter().for_each(|name| owned.forget(&key, name));
        names
    }

    /// Whether this session has begun to delete, since then, a znode that the session before had left. To whoever has asked
    /// since then to give the znode back, it was there until that.
    pub(crate) fn has_cleared(&self, path: &str, since: Instant) -> bool {
        self.cleared().deleted.get(path).is_some_and(|deleted| *deleted >= since)
    }

    fn cleared(&self) -> MutexGuard<'_, Cleared> {
        self.cleared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
