//! The transaction that exchanges a queue node for a lease.

use futures::future::join;
use zookeeper_client as zk;

use super::claim::{Claim, Terms};
use super::lease::{self, OtherLeases};
use super::limit::Limit;
use super::pool::Snapshot;
use super::{names, reason};
use crate::session::{Attempt, Failure, Session, Transaction, Unacknowledged};

/// In a check of a transaction: the znode has to be there, at whichever version.
const ANY_VERSION: i32 = -1;

/// The znodes that the transaction exchanges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchanged<'a> {
    /// The path of the queue.
    pub(super) queue: &'a str,
    /// The path of the queue node.
    pub(super) node: &'a str,
    /// The name of the lease.
    pub(super) lease: &'a str,
}

/// What became of the transaction.
pub(super) enum Exchange {
    /// The lease is there, and the queue node is not: the lease's czxid, where the claim asks for it.
    Done(Attempt<Option<i64>>),
    /// The servers have changed nothing.
    Refused {
        /// A lease of that name is there: an earlier transaction was carried out after all.
        lease_exists: bool,
        /// Why trying again will not help. `None`: the snapshot was out of date.
        failure: Option<Failure>,
    },
    /// The outcome is not known, or the session is over.
    Unknown(Failure),
}

/// Exchanges a queue node for a lease of the claim, by the snapshot, in one transaction. It is sent at once.
///
/// The transaction fails whole where the pool is not the version that the snapshot shows, where the other leases are
/// not there any more, or where the queue node is not.
pub(super) async fn exchange(
    session: &Session,
    claim: &Claim,
    snapshot: &Snapshot,
    others: &OtherLeases,
    znodes: &Exchanged<'_>,
    unacknowledged: &Unacknowledged,
) -> Exchange {
    let Exchanged { queue, node, lease } = *znodes;
    let path = claim.path(lease);
    let limit = Limit::encode(claim.limit);
    let persistent = zk::CreateMode::Persistent.with_acls(claim.acls());
    // The transaction is: the pool, the other leases, the lease, its liveness node, its reason node, the queue node.
    let index_of_lease = 1 + usize::from(others.witness.is_some()) + others.replaced.len();
    let index_of_reason = index_of_lease + 1 + usize::from(claim.terms == Terms::Kept);
    let index_of_node = index_of_reason + usize::from(claim.reason.is_some());
    let mut transaction = session.writes(unacknowledged).transaction();
    let build = |transaction: &mut Transaction<'_>| {
        match &snapshot.pool {
            None => transaction.create(&claim.pool, limit.as_bytes(), &persistent)?,
            Some((data, stat)) if data.is_empty() => {
                transaction.set_data(&claim.pool, limit.as_bytes(), Some(stat.version))?;
            }
            // A limit that was changed meanwhile is a reason to read the pool again.
            Some((_, stat)) => transaction.check(&claim.pool, stat.version)?,
        }
        if let Some(name) = &others.witness {
            transaction.check(&claim.path(name), ANY_VERSION)?;
        }
        for name in &others.replaced {
            transaction.delete(&claim.path(name), None)?;
        }
        lease::add(transaction, claim, queue, lease)?;
        transaction.delete(node, None)
    };
    let result = match build(&mut transaction) {
        Ok(()) => {
            let committing = transaction.commit();
            let (result, czxid) = join(committing, lease::czxid(session, claim, &path)).await;
            result.map(|_| czxid)
        }
        Err(source) => Err(zk::MultiWriteError::OperationFailed { index: 0, source }),
    };
    let is_about_reason = |index| claim.reason.is_some() && index == index_of_reason;
    match result {
        Ok(czxid) => Exchange::Done(czxid),
        Err(zk::MultiWriteError::OperationFailed { index, source: zk::Error::NoNode }) if is_about_reason(index) => {
            let tree = names::reasons(&claim.pool);
            let failure = match session.writes(unacknowledged).create(&tree, b"", &persistent).await {
                Ok(_) | Err(zk::Error::NodeExists) => None,
                Err(error) => Some(session.failure(&error, "create", &tree)),
            };
            Exchange::Refused { lease_exists: false, failure }
        }
        Err(zk::MultiWriteError::OperationFailed { index, source }) => Exchange::Refused {
            // No other contender has that name for a lease.
            lease_exists: index == index_of_lease && source == zk::Error::NodeExists,
            failure: match source {
                zk::Error::NoNode | zk::Error::NodeExists | zk::Error::BadVersion => None,
                zk::Error::NoAuth if index == index_of_node => Some(session.failure(&source, "delete", node)),
                error if is_about_reason(index) => {
                    Some(session.failure(&error, "create", &reason::node(&claim.pool, lease)))
                }
                error => Some(session.failure(&error, "create", &path)),
            },
        },
        Err(zk::MultiWriteError::RequestFailed { source }) => {
            Exchange::Unknown(session.failure(&source, "create", &path))
        }
    }
}
