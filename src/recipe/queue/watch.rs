//! Waiting in a queue for the queue node right before to go, and telling the position meanwhile.
//!
//! A contender watches its own queue node as well. An operator may delete that, or the whole queue: without the watch the
//! contender would wait on where nobody sees it, and enter again only when the queue node before it is gone.

use std::future::Future;
use std::pin::pin;

use futures::future::{select, Either};
use zookeeper_client as zk;

use super::contender::Contender;
use super::order;
use crate::session::{Attempt, Failure};

impl Contender {
    /// Waits until the queue node `predecessor` is gone. It returns early where the contender's own queue node is gone.
    pub(crate) async fn watch(&self, predecessor: &str) -> Attempt<()> {
        self.while_queued(self.watch_predecessor(predecessor)).await
    }

    /// Runs `waiting` until it ends, or the contender's own queue node is gone. The watch on that is set together with
    /// the first request of `waiting`, and once for the whole wait: whoever takes a slot deletes the queue node, and the
    /// watch with it.
    pub(crate) async fn while_queued(&self, waiting: impl Future<Output = Attempt<()>>) -> Attempt<()> {
        let Some(node) = self.node() else { return Ok(()) };
        // In a box: who does not wait, as most do, is not to carry room for it.
        match select(Box::pin(waiting), pin!(self.own_node_gone(node))).await {
            Either::Left((ended, _)) | Either::Right((ended, _)) => ended,
        }
    }

    async fn own_node_gone(&self, node: &str) -> Attempt<()> {
        if !self.own_watch.is_on(node) {
            let path = self.path(node);
            match self.session.check_and_watch_stat(&path).await {
                Ok((Some(_), watcher)) => self.own_watch.set(node, Box::pin(watcher.changed())),
                Ok((None, _)) => return Ok(()),
                // The ACL forbids to look. The contender then learns of it when the queue node before it is gone.
                Err(zk::Error::NoAuth) => return std::future::pending().await,
                Err(error) => return Err(self.session.failure(&error, "read", &path)),
            }
        }
        fired(&self.own_watch.event().await)
    }

    async fn watch_predecessor(&self, predecessor: &str) -> Attempt<()> {
        let path = &self.path(predecessor);
        match self.session.get_and_watch_data(path).await {
            Ok((_, _, watcher)) => {
                let gone = pin!(watcher.changed());
                match select(gone, pin!(self.keep_telling())).await {
                    Either::Left((event, _)) => fired(&event),
                    Either::Right((ended, _)) => ended,
                }
            }
            Err(zk::Error::NoNode) => Ok(()),
            // The ACL forbids to read the data. Anybody may ask whether the znode is there.
            Err(zk::Error::NoAuth) => match self.session.check_and_watch_stat(path).await {
                Ok((Some(_), watcher)) => fired(&watcher.changed().await),
                Ok((None, _)) => Ok(()),
                Err(error) => Err(self.session.failure(&error, "read", path)),
            },
            Err(error) => Err(self.session.failure(&error, "read", path)),
        }
    }

    /// Tells the position as it changes. Queue nodes further ahead are not watched, so that none of them wakes all
    /// waiters when it goes; the queue is read now and then instead, and only if somebody listens.
    async fn keep_telling(&self) -> Attempt<()> {
        let Some(positions) = self.positions.as_ref().filter(|_| self.node().is_some()) else {
            return std::future::pending().await;
        };
        let mut length = 0;
        loop {
            let position = *positions.borrow();
            tokio::time::sleep(order::pause_between_tellings(position, length)).await;
            match self.session.list_children(&self.queue).await {
                Ok(queue) => {
                    length = queue.len();
                    self.tell(&queue);
                }
                Err(zk::Error::NoNode) => return Ok(()),
                Err(error) => return Err(self.session.failure(&error, "read", &self.queue)),
            }
        }
    }

    /// Tells whoever listens where the queue node stands, if that has changed.
    pub(crate) fn tell(&self, queue: &[String]) {
        let Some(position) = self.node().and_then(|mine| order::position(queue, mine)) else { return };
        if let Some(positions) = &self.positions {
            positions.send_if_modified(|known| std::mem::replace(known, position) != position);
        }
    }
}

/// Whether a watch has fired because its znode has changed, or because the session is over, which is a failure.
fn fired(event: &zk::WatchedEvent) -> Attempt<()> {
    match event.event_type {
        zk::EventType::Session => Err(Failure::Gone),
        _ => Ok(()),
    }
}
