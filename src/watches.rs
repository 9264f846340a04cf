//! Watches that wait for the next change of a znode, whether it is there or not.

use futures::future::select_all;
use zookeeper_client as zk;

use crate::children::or_missing;
use crate::session::{Attempt, Failure, Reply, Session};

/// A watch on the names of a znode's children, and on its coming and going.
pub(crate) async fn on_children(session: &Session, path: &str) -> Reply<zk::OneshotWatcher> {
    loop {
        if let Some((_, watcher)) = or_missing(session.list_and_watch_children(path).await)? {
            return Ok(watcher);
        }
        if let (None, watcher) = session.check_and_watch_stat(path).await? {
            return Ok(watcher);
        }
    }
}

/// A watch on a znode's data, and on its coming and going.
pub(crate) async fn on_data(session: &Session, path: &str) -> Reply<zk::OneshotWatcher> {
    Ok(session.check_and_watch_stat(path).await?.1)
}

/// Waits until one of the watches is triggered.
///
/// # Errors
/// [`Failure::Gone`] when the session ends. A connection that breaks is mended by the protocol client, which renews the
/// watches.
pub(crate) async fn any_triggered(watches: Vec<zk::OneshotWatcher>) -> Attempt<()> {
    let (event, _, others) = select_all(watches.into_iter().map(|watch| Box::pin(watch.changed()))).await;
    drop(others);
    if event.event_type == zk::EventType::Session {
        return Err(Failure::Gone);
    }
    Ok(())
}
