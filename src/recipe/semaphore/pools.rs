//! Which pools there are below a znode.

use std::collections::{BTreeMap, HashMap};

use futures::future::try_join_all;
use serde::Serialize;
use zookeeper_client as zk;

use super::limit::Limit;
use crate::children;
use crate::client::Client;
use crate::connect::settings::Settings;
use crate::error::Result;
use crate::recipe::queue::names;
use crate::session::{Attempt, Session};
use crate::tree;
use crate::wait::Budget;

/// A pool, in a list of pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its full path.
    pub path: String,
    /// The stored limit; `None` where it stores none, or must not be read.
    pub max_concurrency: Option<i64>,
    /// How many slots are held; `None` where the caller may not read that.
    pub held: Option<usize>,
    /// How many wait; `None` where the caller may not read that.
    pub waiting: Option<usize>,
    /// How often a slot was taken or given back since the pool was made; `None` where the caller may not read that.
    pub changes: Option<i32>,
}

/// The pools below a znode, and the znode itself where it is one, in the order of their paths. A pool is a znode beside
/// which there is a queue: somebody has asked for a slot of it. It is no snapshot: what comes or goes meanwhile is there or
/// not. What the caller may not read is passed over.
///
/// All znodes below `root` are listed, a level of the tree in one flight.
///
/// # Errors
/// [`crate::Error::NoNode`] where there is no such znode; [`crate::Error::AuthFailed`], [`crate::Error::Unreachable`],
/// [`crate::Error::Cancelled`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// All is read again while the time in `budget` lasts.
pub async fn pools(client: &Client, root: &str, budget: &Budget) -> Result<Vec<Listed>> {
    client.answer(budget, root, |session| async move { read(&session, root).await }).await
}

/// Names pools as a caller below the chroot knows them. The chroot itself, where it is one, has no such name.
pub fn below_chroot(pools: &mut Vec<Listed>, settings: &Settings) {
    pools.iter_mut().for_each(|pool| pool.path = settings.shown(&pool.path));
    pools.retain(|pool| pool.path != "/");
}

async fn read(session: &Session, root: &str) -> Attempt<Vec<Listed>> {
    let mut counted = HashMap::new();
    for (path, children) in tree::walk(session, root, None).await? {
        match children {
            Ok(count) => counted.insert(path, Some(count)),
            Err(zk::Error::NoAuth) => counted.insert(path, None),
            Err(error) => return Err(session.failure(&error, "read", &path)),
        };
    }
    if let Some((parent, name)) = root.rsplit_once('/').filter(|_| root != "/") {
        // Whether the znode itself is a pool shows beside it.
        let siblings = readable(session, if parent.is_empty() { "/" } else { parent }).await?.unwrap_or_default();
        let queue = names::queue(name);
        if siblings.contains(&queue) {
            let nodes = readable(session, &names::queue(root)).await?;
            for node in nodes.iter().flatten() {
                counted.insert(format!("{parent}/{queue}/{node}"), Some(0));
            }
            counted.insert(format!("{parent}/{queue}"), nodes.map(|nodes| nodes.len()));
        }
    }
    let mut pools = among(&counted);
    let mut by_parent = BTreeMap::<_, Vec<_>>::new();
    for pool in pools.keys() {
        let (parent, name) = pool.rsplit_once('/').unwrap_or_default();
        by_parent.entry(parent.to_owned()).or_default().push(name.to_owned());
    }
    let reads = by_parent.into_iter().map(async |(parent, names)| {
        let read = children::read(session, &parent, names).await?.into_iter();
        Ok::<_, crate::session::Failure>(read.map(move |(name, read)| (format!("{parent}/{name}"), read)))
    });
    for (path, read) in try_join_all(reads).await?.into_iter().flatten() {
        match (read, pools.get_mut(&path)) {
            (Ok((data, stat)), Some(pool)) => {
                pool.changes = Some(stat.cversion);
                if let Limit::Number(limit) = Limit::decode(&data) {
                    pool.max_concurrency = Some(limit);
                }
            }
            // It has gone since it was listed.
            (Err(zk::Error::NoNode), _) => drop(pools.remove(&path)),
            _ => {}
        }
    }
    Ok(pools.into_values().collect())
}

/// The names of the children of a znode; `None` where it is gone, or the caller may not read it.
async fn readable(session: &Session, path: &str) -> Attempt<Option<Vec<String>>> {
    match session.list_children(path).await {
        Ok(names) => Ok(Some(names)),
        Err(zk::Error::NoAuth | zk::Error::NoNode) => Ok(None),
        Err(error) => Err(session.failure(&error, "read", path)),
    }
}

/// The pools that have the same parent as a path at which there is no znode: what its caller may have meant. `None`: there
/// is one.
///
/// # Errors
/// As [`pools`], but for [`crate::Error::NoNode`]; [`crate::Error::NoAuth`] where the parent must not be read.
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// It is read again while the time in `budget` lasts.
pub async fn neighbours(client: &Client, pool: &str, budget: &Budget) -> Result<Option<Vec<String>>> {
    let attempt = |session: Session| async move {
        let (parent, own) = pool.rsplit_once('/').unwrap_or_default();
        let mut siblings = children::list(&session, if parent.is_empty() { "/" } else { parent }).await?;
        if siblings.iter().any(|name| name == own) {
            return Ok(None);
        }
        siblings.sort_unstable();
        let has_queue = |name: &&String| siblings.binary_search(&names::queue(name)).is_ok();
        Ok(Some(siblings.iter().filter(has_queue).map(|name| format!("{parent}/{name}")).collect()))
    };
    client.answer(budget, pool, attempt).await
}

/// The pools among znodes, of each of which is known how many children it has. `None`: that must not be read.
fn among(counted: &HashMap<String, Option<usize>>) -> BTreeMap<String, Listed> {
    let mut waiting = HashMap::<_, usize>::new();
    for (queue, name) in counted.keys().filter_map(|path| path.rsplit_once('/')) {
        if names::sequence(name).is_some() {
            *waiting.entry(queue).or_default() += 1;
        }
    }
    let pool = |(path, held): (&String, &Option<usize>)| {
        let queue = names::queue(path);
        let readable = counted.get(&queue)?;
        let waiting = readable.map(|_| waiting.get(queue.as_str()).copied().unwrap_or(0));
        Some((path.clone(), Listed { path: path.clone(), max_concurrency: None, held: *held, waiting, changes: None }))
    };
    counted.iter().filter_map(pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_what_has_a_queue_at_its_side() {
        let node = |number: u32| format!("/a/web-__lock__/{number:032x}__lock__{number:010}");
        let (one, two) = (node(1), node(2));
        let kept = format!("/a/web-__lock__/{:032x}", 3);
        let paths =
            ["/", "/a", "/a/web", "/a/web/1", "/a/web-__lock__", &one, &two, &kept, "/a/db", "/b-__lock__", "/c"];
        let mut counted: HashMap<_, _> = paths.map(|path| (path.to_owned(), Some(1))).into();
        counted.insert("/c-__lock__".to_owned(), None);
        let pools: Vec<_> = among(&counted).into_values().collect();
        let pool = |path: &str, waiting| Listed {
            path: path.to_owned(),
            max_concurrency: None,
            held: Some(1),
            waiting,
            changes: None,
        };
        assert_eq!(pools, [pool("/a/web", Some(2)), pool("/c", None)]);
    }
}
