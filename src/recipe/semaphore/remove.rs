//! Removing a pool that nobody uses.

use futures::future::join5;
use zookeeper_client as zk;

use super::limit::Limit;
use super::names::reasons;
use super::reason;
use crate::children::or_missing;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::recipe::queue::names;
use crate::session::{Attempt, Failure, Session, Transaction, Unacknowledged};
use crate::wait::Budget;

/// How often it is tried at once, while others come and go.
const AT_ONCE: usize = 10;
/// Left-over reason nodes that one request deletes.
const MOST_DELETED: usize = 500;

/// Deletes a pool, its queue and its reason tree, in one transaction: `true` when there was something, `false` when there is
/// no such pool. The limit goes with the pool; whoever locks after that makes it anew.
///
/// It is deleted only while nobody holds a slot or waits for one. A contender has a queue node from its first request to
/// its lease, and the servers delete no znode that has children. So no contender loses its turn, and none is let in beside
/// another.
///
/// A pool is a znode with a number, or with nothing in it, beside which there is a queue. What else there may be at a path is
/// left alone: a lease, a timed lease, a znode of somebody else's.
///
/// # Errors
/// [`Error::Argument`] where there is a znode that is no pool; [`Error::InUse`] where somebody holds a slot or waits, or where
/// the pool has children of another kind; [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`],
/// [`Error::ConnectionLost`], [`Error::Cancelled`], [`Error::Server`].
///
/// # Cancellation
/// The error says whether the pool may have been removed already.
///
/// # Lost connection
/// It is looked whether the pool is there. One that is gone by then counts as removed. Where somebody uses the path by then
/// nobody can say which pool that is.
pub async fn remove_pool(client: &Client, pool: &str, budget: &Budget) -> Result<bool> {
    let unacknowledged = Unacknowledged::new("the pool may have been removed, or not; ask pools");
    let attempt = |session: Session| {
        let unacknowledged = &unacknowledged;
        async move {
            for _ in 0..AT_ONCE {
                if let Some(removed) = remove(&session, pool, unacknowledged).await? {
                    return Ok(removed || unacknowledged.is_any());
                }
            }
            Err(in_use(&session, pool, unacknowledged, "others come and go".to_owned()))
        }
    };
    client.write(budget, pool, &unacknowledged, attempt).await
}

/// That the pool is not removed; or, after a lost reply, that somebody uses what may be another pool by now.
fn in_use(session: &Session, pool: &str, unacknowledged: &Unacknowledged, reason: String) -> Failure {
    Failure::Final(if unacknowledged.is_any() {
        session.connection_lost(pool, unacknowledged)
    } else {
        Error::InUse { path: pool.to_owned(), reason }
    })
}

/// Tries it once. `None`: somebody has come or gone meanwhile.
async fn remove(session: &Session, pool: &str, unacknowledged: &Unacknowledged) -> Attempt<Option<bool>> {
    let (queue, tree) = (names::queue(pool), reasons(pool));
    // The reasons are read first, and the leases last: a contender that exchanges its queue node for a lease meanwhile is
    // seen in one of the two, and a reason whose lease is not listed after that belongs to a lease that is gone.
    let flight = join5(
        session.sync(pool),
        session.list_children(&tree),
        session.list_children(&queue),
        session.list_children(pool),
        session.get_data(pool),
    );
    let (synced, explained, nodes, leases, data) = flight.await;
    let refused = |error| session.failure(&error, "read", pool);
    synced.map_err(refused)?;
    let explained = or_missing(explained).map_err(|error| session.failure(&error, "read", &tree))?;
    let nodes = or_missing(nodes).map_err(|error| session.failure(&error, "read", &queue))?;
    let leases = or_missing(leases).map_err(refused)?.unwrap_or_default();
    let data = or_missing(data).map_err(refused)?;
    if explained.is_none() && nodes.is_none() && data.is_none() {
        return Ok(Some(false));
    }
    if let Some((data, stat)) = &data {
        check(pool, data, stat, nodes.is_some()).map_err(Failure::Final)?;
    }
    if let Some(reason) = users(&leases, nodes.as_deref().unwrap_or_default()) {
        return Err(in_use(session, pool, unacknowledged, reason));
    }
    for left in explained.iter().flat_map(|names| names.chunks(MOST_DELETED)) {
        let build = |transaction: &mut Transaction<'_>| {
            left.iter().try_for_each(|name| transaction.delete(&reason::node(pool, name), None))
        };
        if !commit(session, &tree, unacknowledged, build).await? {
            return Ok(None);
        }
    }
    let build = |transaction: &mut Transaction<'_>| {
        if explained.is_some() {
            transaction.delete(&tree, None)?;
        }
        if nodes.is_some() {
            transaction.delete(&queue, None)?;
        }
        // Where somebody has changed the limit since, all is read again.
        data.as_ref().map_or(Ok(()), |(_, stat)| transaction.delete(pool, Some(stat.version)))
    };
    Ok(commit(session, pool, unacknowledged, build).await?.then_some(true))
}

/// Commits deletions. `false`: something is not as it was read.
async fn commit(
    session: &Session,
    path: &str,
    unacknowledged: &Unacknowledged,
    build: impl FnOnce(&mut Transaction<'_>) -> crate::session::Reply<()>,
) -> Attempt<bool> {
    let mut transaction = session.writes(unacknowledged).transaction();
    build(&mut transaction).map_err(|error| session.failure(&error, "delete", path))?;
    match transaction.commit().await {
        Ok(_) => Ok(true),
        Err(error) if error.is_outdated() || error.source == zk::Error::NotEmpty => Ok(false),
        Err(error) => Err(session.not_committed(&error)),
    }
}

/// Refuses a znode that is no pool.
fn check(path: &str, data: &[u8], stat: &zk::Stat, has_queue: bool) -> Result<()> {
    let what = if stat.ephemeral_owner != 0 {
        "is ephemeral, as a lease or a queue node is"
    } else if Limit::decode(data) == Limit::Foreign {
        "holds data that is no number"
    } else if !has_queue {
        "has no queue beside it, so that nobody has asked for a slot there"
    } else {
        return Ok(());
    };
    Err(Error::argument("path", format!("{path} {what}: it is no pool, and nothing was removed")))
}

/// Who uses a pool, in words, if anybody does.
fn users(leases: &[String], nodes: &[String]) -> Option<String> {
    let waiting = nodes.iter().filter(|name| names::sequence(name).is_some()).count();
    let counted = [
        (leases.len(), "slot is held", "slots are held"),
        (waiting, "waits", "wait"),
        (nodes.len() - waiting, "other znode is in its queue", "other znodes are in its queue"),
    ];
    let words = counted.into_iter().filter(|(count, ..)| *count > 0);
    let words: Vec<_> =
        words.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_uses_a_pool_is_counted_by_what_he_does() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let node = format!("{:032x}__lock__0000000001", 1);
        let alive = format!("{:032x}", 2);
        assert_eq!(users(&[], &[]), None);
        assert_eq!(users(&names(&["a"]), &[]).as_deref(), Some("1 slot is held"));
        assert_eq!(
            users(&names(&["a", "b"]), &names(&[&node, &alive])).as_deref(),
            Some("2 slots are held, 1 waits, 1 other znode is in its queue")
        );
    }
}
