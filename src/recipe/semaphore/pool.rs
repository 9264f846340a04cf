//! The pool: sent it together with its queue, in one request, and creating it.

use std::future::Future;

use futures::future::join3;
use zookeeper_client as zk;

use super::claim::Claim;
use super::limit::{has_room, Limit};
use super::{lease, names};
use crate::multi_read;
use crate::path;
use crate::recipe::queue::contender::Listing;
use crate::session::{Attempt, Failure, Session, Transaction, Unacknowledged};

/// A pool and its queue at one moment: what a contender decides by. What is missing is empty.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) queue: Vec<String>,
    pub(super) pool: Option<(Vec<u8>, zk::Stat)>,
    pub(super) leases: Vec<String>,
}

/// Reads the claim's pool and its queue in one request, which is sent at once, after what was sent before.
///
/// The queue is read before the pool. So where a contender has exchanged its queue node for a lease meanwhile, at least
/// one of the two is seen.
pub(super) fn read<'a>(
    session: &'a Session,
    claim: &'a Claim,
    queue: &str,
) -> impl Future<Output = Attempt<Snapshot>> + 'a {
    let reading = multi_read::read(session, &|reader| {
        reader.add_get_children(queue)?;
        reader.add_get_data(&claim.pool)?;
        reader.add_get_children(&claim.pool)
    });
    async move {
        let read = async {
            let mut answers = reading.await?;
            let queue = answers.children()?.unwrap_or_default();
            Ok(Snapshot { queue, pool: answers.data()?, leases: answers.children()?.unwrap_or_default() })
        };
        read.await.map_err(|error| session.failure(&error, "read", &claim.pool))
    }
}

impl Listing for Snapshot {
    fn queue(&self) -> &[String] {
        &self.queue
    }
}

impl Snapshot {
    /// The number that the pool stores.
    pub(super) fn limit(&self) -> Limit {
        self.pool.as_ref().map_or(Limit::Unset, |(data, _)| Limit::decode(data))
    }

    /// Whether the pool has a free slot, were `ahead` more taken first. The number that the pool stores counts, which
    /// may have changed during the wait. Where it stores none, `asked` is the limit, and there is no slot for those who
    /// ask for none.
    pub(super) fn has_room(&self, ahead: usize, asked: Option<u32>) -> bool {
        let limit = match self.limit() {
            Limit::Number(stored) => Some(stored),
            Limit::Unset | Limit::Foreign => asked.map(i64::from),
        };
        limit.is_some_and(|limit| has_room(self.leases.len() + ahead, limit))
    }
}

/// Creates the claim's pool, with its queue and with the first lease in it, in one transaction: the lease's czxid,
/// where the claim asks for it. The parents are created in the same flight. `None`, with nothing done, where there is a
/// pool or a queue already, or a parent that cannot be created.
///
/// So the first lock on a path takes no longer than any other. Where there was no queue no contender can be before this
/// one, and where there was no pool no identifier can hold a slot. Of two that do this at once the second finds all of
/// it, and its transaction fails whole.
pub(super) async fn create(
    session: &Session,
    claim: &Claim,
    queue: &str,
    lease: &str,
    unacknowledged: &Unacknowledged,
) -> Attempt<Option<Option<i64>>> {
    let refused = |error: &zk::Error| session.failure(error, "create", &claim.pool);
    let persistent = zk::CreateMode::Persistent.with_acls(claim.acls());
    let path = claim.path(lease);
    let parents = session.make_parents(path::parents(&claim.pool), claim.acls(), unacknowledged);
    let mut transaction = session.writes(unacknowledged).transaction();
    let limit = claim.limit_to_store().map_err(Failure::Final)?;
    let build = |transaction: &mut Transaction<'_>| {
        transaction.create(&claim.pool, limit.as_bytes(), &persistent)?;
        transaction.create(queue, b"", &persistent)?;
        if claim.reason.is_some() {
            transaction.create(&names::reasons(&claim.pool), b"", &persistent)?;
        }
        lease::add(transaction, claim, queue, lease, claim.reason.as_ref())
    };
    build(&mut transaction).map_err(|error| refused(&error))?;
    let committing = transaction.commit();
    let (_, committed, czxid) = join3(parents, committing, lease::czxid(session, claim, &path)).await;
    match committed {
        Ok(_) => Ok(Some(czxid?)),
        Err(error) if error.is_outdated() => Ok(None),
        Err(error) => Err(session.not_committed(&error)),
    }
}
