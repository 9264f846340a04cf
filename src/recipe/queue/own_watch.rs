//! A contender's watch on its own queue node: an operator may delete that.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures::future::BoxFuture;
use zookeeper_client as zk;

/// The watch on a contender's own queue node.
#[derive(Default)]
pub(super) struct OwnWatch(Mutex<Option<(String, BoxFuture<'static, zk::WatchedEvent>)>>);

impl OwnWatch {
    fn watch(&self) -> MutexGuard<'_, Option<(String, BoxFuture<'static, zk::WatchedEvent>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is on the queue node of that name, and has not fired.
    pub(super) fn is_on(&self, node: &str) -> bool {
        self.watch().as_ref().is_some_and(|(watched, _)| watched == node)
    }

    pub(super) fn set(&self, node: &str, event: BoxFuture<'static, zk::WatchedEvent>) {
        *self.watch() = Some((node.to_owned(), event));
    }

    /// Waits until it fires. It fires once.
    pub(super) async fn event(&self) -> zk::WatchedEvent {
        poll_fn(|cx| {
            let mut watch = self.watch();
            let Some((_, event)) = watch.as_mut() else { return Poll::Pending };
            let fired = event.as_mut().poll(cx);
            if fired.is_ready() {
                *watch = None;
            }
            fired
        })
        .await
    }
}

impl fmt::Debug for OwnWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnWatch").field(&self.watch().as_ref().map(|(node, _)| node)).finish()
    }
}
