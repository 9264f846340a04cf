//! Removing a pool that nobody uses.

use futures::future::join5;
use zookeeper_client as zk;

use super::{lease, names};
use crate::children::or_missing;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::recipe::queue::names::queue;
use crate::session::{Attempt, Failure, Session, Transaction, Unacknowledged};
use crate::wait::Budget;

/// How often it is tried at once, while others come and go.
const AT_ONCE: usize = 5;

/// Deletes a pool, its queue, and what is left of reasons, in one transaction: `true` when there was something, `false` when
/// there is no such pool. The limit goes with the pool; whoever locks after that makes it anew.
///
/// It is deleted only while nobody holds a slot or waits for one. A contender has a queue node from its first request to
/// its lease, and the servers delete no znode that has children. So no contender loses its place, and none is let in beside
/// another.
///
/// # Errors
/// [`Error::InUse`] where somebody holds a slot or waits, or where the pool has children of another kind; [`Error::NoAuth`],
/// [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::ConnectionLost`], [`Error::Cancelled`], [`Error::Server`].
///
/// # Cancellation
/// The error says whether the pool may have been removed already.
///
/// # Lost connection
/// It is looked whether the pool is there. One that is gone by then counts as removed.
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
            Err(Failure::Lost)
        }
    };
    client.write(budget, pool, &unacknowledged, attempt).await
}

/// Tries it once. `None`: somebody has come or gone meanwhile.
async fn remove(session: &Session, pool: &str, unacknowledged: &Unacknowledged) -> Attempt<Option<bool>> {
    let (queue, reasons) = (queue(pool), names::reasons(pool));
    let flight = join5(
        session.sync(pool),
        session.check_stat(pool),
        session.list_children(pool),
        session.list_children(&queue),
        session.list_children(&reasons),
    );
    let (synced, stat, leases, nodes, explained) = flight.await;
    let refused = |error| session.failure(&error, "read", pool);
    synced.map_err(refused)?;
    let stat = stat.map_err(refused)?;
    let leases = or_missing(leases).map_err(refused)?;
    let nodes = or_missing(nodes).map_err(refused)?;
    let explained = or_missing(explained).map_err(refused)?;
    let (held, queued) = (leases.map_or(0, |leases| leases.len()), nodes.as_ref().map_or(0, Vec::len));
    if held + queued > 0 {
        let who = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let reason = format!("{}, {}", who(held, "slot is held", "slots are held"), who(queued, "waits", "wait"));
        return Err(Failure::Final(Error::InUse { path: pool.to_owned(), reason }));
    }
    // Reasons of leases that are gone: kazoo knows nothing of them.
    lease::sweep(session, pool, explained.iter().flatten()).await;
    let mut transaction = session.writes(unacknowledged).transaction();
    let build = |transaction: &mut Transaction<'_>| {
        if explained.is_some() {
            transaction.delete(&reasons, None)?;
        }
        if nodes.is_some() {
            transaction.delete(&queue, None)?;
        }
        // A limit that somebody has changed meanwhile is not removed unseen.
        stat.as_ref().map_or(Ok(()), |stat| transaction.delete(pool, Some(stat.version)))
    };
    if explained.is_none() && nodes.is_none() && stat.is_none() {
        return Ok(Some(false));
    }
    build(&mut transaction).map_err(|error| session.failure(&error, "delete", pool))?;
    match transaction.commit().await {
        Ok(_) => Ok(Some(true)),
        Err(zk::MultiWriteError::OperationFailed {
            source: zk::Error::NotEmpty | zk::Error::NoNode | zk::Error::BadVersion,
            ..
        }) => Ok(None),
        Err(error) => Err(session.failure(&error.into(), "delete", pool)),
    }
}
