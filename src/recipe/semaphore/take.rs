//! The transaction that exchanges a queue node for a lease.

use futures::future::join;
use zookeeper_client as zk;

use super::claim::{Claim, Terms};
use super::lease::{self, OtherLeases};
use super::names;
use super::pool::Snapshot;
use super::reason::{node as reason_node, Reason};
use crate::session::{Attempt, Failure, Reply, Session, Transaction, Unacknowledged};

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
    /// The servers have changed nothing, because the ACL forbids the reason node.
    ReasonForbidden,
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
    reason: Option<&Reason>,
    unacknowledged: &Unacknowledged,
) -> Exchange {
    let Exchanged { queue, node, lease } = *znodes;
    let path = claim.path(lease);
    let persistent = zk::CreateMode::Persistent.with_acls(claim.acls());
    // The transaction is: the pool, the other leases, the lease, its liveness node, its reason node, the queue node.
    let index_of_lease = 1 + usize::from(others.witness.is_some()) + others.replaced.len();
    let index_of_reason = index_of_lease + 1 + usize::from(claim.terms == Terms::Kept);
    let mut transaction = session.writes(unacknowledged).transaction();
    let stored = snapshot.pool.as_ref().filter(|(data, _)| !data.is_empty());
    let limit = match stored.map_or_else(|| claim.limit_to_store(), |_| Ok(String::new())) {
        Ok(limit) => limit,
        Err(error) => return Exchange::Refused { lease_exists: false, failure: Some(Failure::Final(error)) },
    };
    let build = |transaction: &mut Transaction<'_>| {
        match &snapshot.pool {
            None => transaction.create(&claim.pool, limit.as_bytes(), &persistent)?,
            Some((_, stat)) if stored.is_none() => {
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
        lease::add(transaction, claim, queue, lease, reason)?;
        transaction.delete(node, None)
    };
    let result = match build(&mut transaction) {
        Ok(()) => {
            let committing = transaction.commit();
            let (result, czxid) = join(committing, lease::czxid(session, claim, &path)).await;
            result.map(|_| czxid)
        }
        Err(error) => {
            let failure = Some(session.failure(&error, "create", &path));
            return Exchange::Refused { lease_exists: false, failure };
        }
    };
    let refused = match result {
        Ok(czxid) => return Exchange::Done(czxid),
        Err(refused) => refused,
    };
    match (refused.index, &refused.source) {
        (None, _) => Exchange::Unknown(session.not_committed(&refused)),
        (Some(index), zk::Error::NodeExists) if claim.terms == Terms::Kept && index == index_of_lease + 1 => {
            // It is left of an earlier lease of that name, which somebody has deleted.
            let left = names::liveness_node(queue, lease);
            let failure = match session.writes(unacknowledged).delete(&left, None).await {
                Ok(()) | Err(zk::Error::NoNode) => None,
                Err(error) => Some(session.failure(&error, "delete", &left)),
            };
            Exchange::Refused { lease_exists: false, failure }
        }
        (Some(index), source) if reason.is_some() && index == index_of_reason => {
            match mend(session, claim, lease, source, unacknowledged).await {
                Ok(()) => Exchange::Refused { lease_exists: false, failure: None },
                Err(zk::Error::NoAuth) => Exchange::ReasonForbidden,
                Err(error) => {
                    let failure = session.failure(&error, "create", &reason_node(&claim.pool, lease));
                    Exchange::Refused { lease_exists: false, failure: Some(failure) }
                }
            }
        }
        // No other contender has that name for a lease.
        (Some(index), zk::Error::NodeExists) if index == index_of_lease => {
            Exchange::Refused { lease_exists: true, failure: None }
        }
        (Some(_), zk::Error::NoNode | zk::Error::NodeExists | zk::Error::BadVersion) => {
            Exchange::Refused { lease_exists: false, failure: None }
        }
        (Some(_), _) => Exchange::Refused { lease_exists: false, failure: Some(session.not_committed(&refused)) },
    }
}

/// Makes what the servers want before they create a reason node: its tree; or the path, where
/// an earlier lease of the same name was deleted without its reason node.
async fn mend(
    session: &Session,
    claim: &Claim,
    lease: &str,
    refusal: &zk::Error,
    unacknowledged: &Unacknowledged,
) -> Reply<()> {
    let done = match refusal {
        zk::Error::NoNode => lease::make_reason_tree(session, claim, unacknowledged).await,
        zk::Error::NodeExists => session.writes(unacknowledged).delete(&reason_node(&claim.pool, lease), None).await,
        refusal => Err(refusal.clone()),
    };
    match done {
        Err(zk::Error::NodeExists | zk::Error::NoNode) => Ok(()),
        done => done,
    }
}
