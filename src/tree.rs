//! All znodes below one: a level of the tree in one flight, however many it has.

use futures::future::{join, try_join_all};
use serde::Serialize;
use zookeeper_client as zk;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::{Attempt, Failure, Reply, Session};
use crate::wait::Budget;

/// ZooKeeper's own subtree, the root's child of that name, which is not shown to who asks for everything.
const OWN: &str = "zookeeper";
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
    let attempt = |session: Session| async move {
        let found = walk(&session, root, None).await?;
        let paths = found.into_iter().map(|(path, counted)| match counted {
            Ok(_) => Ok(path),
            Err(error) => Err(session.failure(&error, "read", &path)),
        });
        let mut paths = paths.collect::<Attempt<Vec<_>>>()?;
        paths.retain(|path| path != "/");
        paths.sort_unstable();
        Ok(paths)
    };
    client.answer(budget, root, attempt).await
}

/// A znode of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// Its full path.
    pub path: String,
    /// How many children it has; none where the caller may not read them.
    pub children: Option<usize>,
}

/// A znode and those below it, down to so many levels, each before its children, and these in the order of their names.
/// Nothing of ZooKeeper's own is below the root. It is no snapshot, as in [`tree`].
///
/// # Errors
/// [`Error::NoNode`] where the znode itself is not there; those of any read. A znode that the caller may not read is none.
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// All is read again while the time in `budget` lasts.
pub async fn branches(client: &Client, root: &str, depth: Option<usize>, budget: &Budget) -> Result<Vec<Branch>> {
    let attempt = |session: Session| async move {
        let mut branches = Vec::new();
        for (path, counted) in walk(&session, root, depth).await? {
            let children = match counted {
                Ok(count) => Some(count),
                Err(zk::Error::NoAuth) => None,
                Err(error) => return Err(session.failure(&error, "read", &path)),
            };
            branches.push(Branch { path, children });
        }
        branches.sort_unstable_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
        Ok(branches)
    };
    client.answer(budget, root, attempt).await
}

/// A znode and those below it, and how many children each has, level by level.
pub(crate) async fn walk(session: &Session, root: &str, depth: Option<usize>) -> Attempt<Vec<(String, Reply<usize>)>> {
    let (synced, there) = join(session.sync(root), session.check_stat(root)).await;
    let refused = |error| session.failure(&error, "read", root);
    synced.map_err(refused)?;
    if there.map_err(refused)?.is_none() {
        return Err(Failure::Final(Error::NoNode { path: root.to_owned() }));
    }
    let mut found = Vec::new();
    let mut level = vec![root.to_owned()];
    let mut levels = depth.map_or(usize::MAX, |depth| depth.saturating_add(1));
    while !level.is_empty() && levels > 0 {
        levels -= 1;
        let requests = chunks(&level).map(|chunk| {
            session.sends(chunk.iter().map(|path| path.len() + HEAD).sum());
            let mut reader = session.multi_reader();
            let added = chunk.iter().try_for_each(|path| reader.add_get_children(path));
            let answer = reader.commit();
            async move { added.and(answer.await) }
        });
        let answers = try_join_all(requests).await.map_err(refused)?;
        let mut next = Vec::new();
        for (path, answer) in level.drain(..).zip(answers.into_iter().flatten()) {
            match answer {
                zk::MultiReadResult::Children { mut children } => {
                    let prefix = path.trim_end_matches('/');
                    children.retain(|name| !prefix.is_empty() || name != OWN);
                    next.extend(children.iter().map(|name| format!("{prefix}/{name}")));
                    found.push((path, Ok(children.len())));
                }
                zk::MultiReadResult::Error { err: zk::Error::NoNode } => found.push((path, Ok(0))),
                zk::MultiReadResult::Error { err } => found.push((path, Err(err))),
                other => {
                    let error = zk::Error::UnexpectedError(format!("a read answered with {other:?}"));
                    found.push((path, Err(error)));
                }
            }
        }
        level = next;
    }
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
