//! The children of a znode: listing them, requests them in bulk, and waiting until they are as somebody wants them.

use std::future::Future;

use futures::future::{join, try_join_all};
use zookeeper_client as zk;

use crate::session::{Attempt, Failure, Reply, Session};

/// Bytes of the paths that are read with one request, at most: half of what servers take unless they were told otherwise.
const PATHS_AT_ONCE: usize = 512 * 1024;
/// Bytes that a request has for each path beside the path.
const HEAD: usize = 16;

/// The data and the stat of a child, or why it could not be read.
pub(crate) type Read = Reply<(Vec<u8>, zk::Stat)>;

/// `None` for a znode that is not there, in place of an error.
pub(crate) fn or_missing<T>(result: Reply<T>) -> Reply<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(zk::Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of a znode's children, as new as the leader's state when this was asked: also on a server that lags
/// behind. A znode that is not there has none.
pub(crate) async fn list(session: &Session, path: &str) -> Attempt<Vec<String>> {
    let (synced, listed) = join(session.sync(path), session.list_children(path)).await;
    let refused = |error| session.failure(&error, "read", path);
    synced.map_err(refused)?;
    Ok(or_missing(listed).map_err(refused)?.unwrap_or_default())
}

/// Reads children of `parent` in one round trip, whatever their number.
pub(crate) async fn read(session: &Session, parent: &str, names: Vec<String>) -> Attempt<Vec<(String, Read)>> {
    let refused = |error: zk::Error| session.failure(&error, "read", parent);
    let most = PATHS_AT_ONCE.min(session.longest_request() / 2);
    let mut requests = Vec::new();
    let mut remaining = names.as_slice();
    while !remaining.is_empty() {
        let (chunk, rest) = remaining.split_at(fitting(parent, remaining, most));
        remaining = rest;
        session.sends(chunk.iter().map(|name| size(parent, name)).sum());
        let mut reader = session.multi_reader();
        for name in chunk {
            reader.add_get_data(&format!("{parent}/{name}")).map_err(refused)?;
        }
        requests.push(reader.commit());
    }
    let results = try_join_all(requests).await.map_err(refused)?;
    let reads = results.into_iter().flatten().map(|result| match result {
        zk::MultiReadResult::Data { data, stat } => Ok((data, stat)),
        zk::MultiReadResult::Error { err } => Err(err),
        other => Err(zk::Error::UnexpectedError(format!("a read answered with {other:?}"))),
    });
    Ok(names.into_iter().zip(reads).collect())
}

/// Bytes by which a child makes a request longer.
fn size(parent: &str, name: &str) -> usize {
    parent.len() + 1 + name.len() + HEAD
}

/// How many of `names` one request of `most` bytes may ask for; at least one.
fn fitting(parent: &str, names: &[String], most: usize) -> usize {
    let mut bytes = 0;
    let fits = |name: &&String| {
        bytes += size(parent, name);
        bytes <= most
    };
    names.iter().take_while(fits).count().max(1)
}

/// Waits, by watch, until `judge` finds what it looks for among the children of `parent`, and returns that. `None`
/// stands for a parent that is not there, and that is waited for too. Nothing is created.
///
/// `judge` is asked once for every state that is seen, with the names of the children.
///
/// # Errors
/// [`Failure::Gone`] when the session ends, [`Failure::Lost`] when the connection breaks over a request. A connection
/// that breaks while nothing happens is mended by the protocol client, which renews the watch.
pub(crate) async fn watch_until<T, F, A>(session: &Session, parent: &str, mut judge: F) -> Attempt<T>
where
    F: FnMut(Option<Vec<String>>) -> A,
    A: Future<Output = Attempt<Option<T>>>,
{
    let refused = |error| session.failure(&error, "read", parent);
    loop {
        let watcher = match or_missing(session.list_and_watch_children(parent).await).map_err(refused)? {
            Some((children, watcher)) => {
                if let Some(found) = judge(Some(children)).await? {
                    return Ok(found);
                }
                watcher
            }
            None => {
                if let Some(found) = judge(None).await? {
                    return Ok(found);
                }
                let (stat, watcher) = session.check_and_watch_stat(parent).await.map_err(refused)?;
                if stat.is_some() {
                    continue;
                }
                watcher
            }
        };
        if watcher.changed().await.event_type == zk::EventType::Session {
            return Err(Failure::Gone);
        }
    }
}
