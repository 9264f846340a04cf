//! Giving a place up, and finding out what there is left of it.

use futures::future::join;
use zookeeper_client as zk;

use super::{Attempt, Left, Place, Stage, FOUNDING};
use crate::children;
use crate::recipe::claim::Progress;
use crate::recipe::sweep::sweep;
use crate::session::{Failure, PAUSE};

impl Place {
    /// Gives the place up, and finds out what there is left of it. Waits for a connection, until the
    /// session is over: then the server removes the place, and only a lease in unacknowledged may remain. Then, and
    /// where a pool that was being founded may still come, the failure says that it cannot be told.
    pub(in crate::recipe) async fn leave(mut self) -> Attempt<Left> {
        let left = loop {
            match self.try_leave().await {
                Err(Failure::Lost) => {
                    self.stale = true;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Failure::Gone) if !self.progress.is_unsure() => break Ok(Left::Nothing),
                ended => break ended,
            }
        };
        // Nothing more can be done: there is nothing for `drop` to do again.
        self.stage = Stage::Outside;
        left
    }

    async fn try_leave(&mut self) -> Attempt<Left> {
        let places = match &self.stage {
            Stage::Outside => Vec::new(),
            Stage::Queued(name) if !self.stale => vec![name.clone()],
            Stage::Entering | Stage::Queued(_) => {
                let queue = children::list(&self.session, &self.queue).await?;
                queue.into_iter().filter(|name| name.starts_with(&self.prefix)).collect()
            }
        };
        if places.is_empty() && self.stage == Stage::Entering {
            sweep(&self.session, &self.queue, self.prefix.clone());
            self.stage = Stage::Outside;
        }
        for name in places {
            let place = format!("{}/{name}", self.queue);
            match self.session.writes(&self.unacknowledged).delete(&place, None).await {
                // Place and lease change hands in one transaction: who removed that place has no lease.
                Ok(()) if self.progress.risked.as_ref() == Some(&name) => self.progress.risked = None,
                Ok(()) | Err(zk::Error::NoNode) => {}
                Err(error) => return Err(self.failure(&error, "delete", &place)),
            }
        }
        let left = if self.progress.is_unsure() { self.look_for_lease().await? } else { Left::Nothing };
        if left == Left::Nothing && !self.is_taken {
            self.forget_lease();
        }
        Ok(left)
    }

    async fn look_for_lease(&self) -> Attempt<Left> {
        let lease = format!("{}/{}", self.claim.pool, self.lease);
        let (synced, stat) = join(self.session.sync(&lease), self.session.check_stat(&lease)).await;
        let refused = |error| self.failure(&error, "read", &lease);
        synced.map_err(refused)?;
        match stat.map_err(refused)? {
            Some(stat) => Ok(Left::Lease(Some(stat.czxid))),
            None if self.progress.risked.as_deref() == Some(FOUNDING) => Err(Failure::Gone),
            None => Ok(Left::Nothing),
        }
    }
}

/// The safety net for a place that is dropped without [`Place::leave`], by a panic for one.
impl Drop for Place {
    fn drop(&mut self) {
        if self.stage == Stage::Outside || self.session.is_over() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let mut rest = Self::new(self.session.clone(), self.claim.clone(), Progress::default(), None);
            rest.prefix.clone_from(&self.prefix);
            // Whatever name it got, the prefix finds it.
            rest.stage = Stage::Entering;
            runtime.spawn(rest.leave());
        }
    }
}
