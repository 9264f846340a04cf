//! Waiting in a queue: for the place right before to go, or, as the first, for a slot.

use std::pin::pin;
use std::time::Duration;

use futures::future::{join, select, Either};
use zookeeper_client as zk;

use super::{Attempt, Place, Stage};
use crate::children::or_missing;
use crate::recipe::order;
use crate::recipe::view::View;

/// How often a waiter whose position somebody wants to know looks at the queue.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl Place {
    /// Waits for the place right before to go.
    pub(super) async fn watch_predecessor(&self, path: &str) -> Attempt<()> {
        match self.session.get_and_watch_data(path).await {
            Ok((_, _, watcher)) => {
                let gone = pin!(watcher.changed());
                match select(gone, pin!(self.keep_telling())).await {
                    Either::Left((event, _)) => self.event(&event),
                    Either::Right((told, _)) => told,
                }
            }
            Err(zk::Error::NoNode) => Ok(()),
            // Not ours to read; that it is there may be asked by anybody.
            Err(zk::Error::NoAuth) => match self.session.check_and_watch_stat(path).await {
                Ok((Some(_), watcher)) => self.event(&watcher.changed().await),
                Ok((None, _)) => Ok(()),
                Err(error) => Err(self.failure(&error, "read", path)),
            },
            Err(error) => Err(self.failure(&error, "read", path)),
        }
    }

    /// Tells the position as it changes. Who is further ahead is not watched, so that nobody's leaving
    /// wakes them all; the queue is looked at now and then instead, and only if somebody listens.
    async fn keep_telling(&self) -> Attempt<()> {
        let Stage::Queued(mine) = &self.stage else {
            return std::future::pending().await;
        };
        if self.positions.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            match self.session.list_children(&self.queue).await {
                Ok(queue) => self.tell(&queue, mine),
                Err(zk::Error::NoNode) => return Ok(()),
                Err(error) => return Err(self.failure(&error, "read", &self.queue)),
            }
        }
    }

    /// Tells whoever listens where the place is, if that has changed.
    pub(super) fn tell(&self, queue: &[String], mine: &str) {
        if let (Some(positions), Some(position)) = (&self.positions, order::position(queue, mine)) {
            positions.send_if_modified(|told| std::mem::replace(told, position) != position);
        }
    }

    /// Waits for a slot, as the first: for a lease to go, or for the limit to change.
    pub(super) async fn watch_pool(&mut self) -> Attempt<()> {
        let pool = &self.claim.pool;
        let (data, leases) =
            join(self.session.get_and_watch_data(pool), self.session.list_and_watch_children(pool)).await;
        let refused = |error| self.failure(&error, "read", &self.claim.pool);
        let (Some((data, stat, limit_changed)), Some((leases, lease_gone))) =
            (or_missing(data).map_err(refused)?, or_missing(leases).map_err(refused)?)
        else {
            return Ok(());
        };
        let view = View { pool: Some((data, stat)), leases, ..View::default() };
        if view.has_room(0, self.claim.limit) {
            return Ok(());
        }
        let (Either::Left((event, other)) | Either::Right((event, other))) =
            select(Box::pin(limit_changed.changed()), Box::pin(lease_gone.changed())).await;
        self.unfired = Some(Box::new(other));
        self.event(&event)
    }

    fn event(&self, event: &zk::WatchedEvent) -> Attempt<()> {
        match event.event_type {
            zk::EventType::Session => Err(self.failure(&zk::Error::SessionExpired, "watch", &self.claim.pool)),
            _ => Ok(()),
        }
    }
}
