//! All znodes below one: a level of the tree in one flight, however many it has.

use futures::future::{join, try_join_all};
use zookeeper_client as zk;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::{Attempt, Failure, Session};
use crate::wait::Budget;

/// ZooKeeper's own subtree, which is not shown to who asks for everything.
const OWN: &str = "/zookeeper";
/// Bytes of the paths that are asked for with one request: a part of what servers take, and soon answered.
const AT_ONCE: usize = 64 * 1024;
/// Bytes that a request has for each path beside the path.
const HEAD: usize = 16;

/// The full paths of a znode and of all below it, in order; not the root's own, and nothing of ZooKeeper's own.
///
/// It is no snapshot: a znode that comes or goes meanwhile is there or not. One that goes has no children.
///
/// # Errors
/// [`Error::NoNode`] where the znode itself is not there; [`Error::NoAuth`] where one must not be read; those of any read.
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// All is read again while the time in `budget` lasts.
pub async fn tree(client: &Client, root: &str, budget: &Budget) -> Result<Vec<String>> {
    client.answer(budget, root, |session: Session| async move { walk(&session, root).await }).await
}

async fn walk(session: &Session, root: &str) -> Attempt<Vec<String>> {
    let (synced, there) = join(session.sync(root), session.check_stat(root)).await;
    let refused = |error| session.failure(&error, "read", root);
    synced.map_err(refused)?;
    if there.map_err(refused)?.is_none() {
        return Err(Failure::Final(Error::NoNode { path: root.to_owned() }));
    }
    let mut found = Vec::new();
    let mut level = vec![root.to_owned()];
    while !level.is_empty() {
        let requests = chunks(&level).map(|chunk| {
            session.sends(chunk.iter().map(|path| path.len() + HEAD).sum());
            let mut reader = session.multi_reader();
            let added = chunk.iter().try_for_each(|path| reader.add_get_children(path));
            let answer = reader.commit();
            async move { added.and(answer.await) }
        });
        let answers = try_join_all(requests).await.map_err(refused)?;
        let mut next = Vec::new();
        for (path, answer) in level.iter().zip(answers.into_iter().flatten()) {
            match answer {
                zk::MultiReadResult::Children { children } => {
                    let prefix = path.trim_end_matches('/');
                    next.extend(children.into_iter().map(|name| format!("{prefix}/{name}")));
                }
                zk::MultiReadResult::Error { err: zk::Error::NoNode } => {}
                zk::MultiReadResult::Error { err } => return Err(session.failure(&err, "read", path)),
                other => {
                    let error = zk::Error::UnexpectedError(format!("a read answered with {other:?}"));
                    return Err(session.failure(&error, "read", path));
                }
            }
        }
        next.retain(|path| path != OWN);
        found.append(&mut level);
        level = next;
    }
    found.retain(|path| path != "/");
    found.sort_unstable();
    Ok(found)
}

/// The paths, so many at a time as go into one request.
fn chunks(paths: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = paths;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |path: &&String| {
            bytes += path.len() + HEAD;
            bytes <= AT_ONCE
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (chunk, after) = rest.split_at(count);
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}
