//! Founding a pool: the first lock of all on a path, which makes the path as well.
//!
//! Pool, queue and the first lease are one transaction, so that this takes no longer than any other
//! lock: where there was no queue nobody can be before us in it, and where there was no pool nobody can
//! hold a slot. Whoever comes second finds all of it, and the transaction fails whole.

use futures::future::join3;
use zookeeper_client as zk;

use crate::path;
use crate::recipe::claim::{Claim, Terms};
use crate::recipe::data::Limit;
use crate::recipe::{hold, lease};
use crate::session::{Failure, Session, Transaction, Unacknowledged};

/// Makes the claim's pool with its lease in it: the lease's czxid, where the claim asks for it. `None`, with nothing
/// done, where there is a pool or a queue already, or a parent that cannot be made.
pub(super) async fn found(
    session: &Session,
    claim: &Claim,
    queue: &str,
    name: &str,
    unacknowledged: &Unacknowledged,
) -> std::result::Result<Option<Option<i64>>, Failure> {
    let refused = |error: &zk::Error| session.failure(error, "create", &claim.pool);
    let persistent = zk::CreateMode::Persistent.with_acls(claim.acls());
    let path = format!("{}/{name}", claim.pool);
    let parents = session.make_parents(path::parents(&claim.pool), claim.acls(), unacknowledged);
    let mut transaction = session.writes(unacknowledged).transaction();
    let build = |transaction: &mut Transaction<'_>| {
        transaction.create(&claim.pool, Limit::encode(claim.limit).as_bytes(), &persistent)?;
        transaction.create(queue, b"", &persistent)?;
        transaction.create(&path, claim.identifier.as_bytes(), &claim.lease_options())?;
        if claim.terms == Terms::Kept {
            let ephemeral = zk::CreateMode::Ephemeral.with_acls(claim.acls());
            transaction.create(&hold::mark(queue, name), claim.identifier.as_bytes(), &ephemeral)?;
        }
        Ok(())
    };
    build(&mut transaction).map_err(|error| refused(&error))?;
    let committing = transaction.commit();
    let (_, committed, czxid) = join3(parents, committing, lease::czxid(session, claim, &path)).await;
    match committed {
        Ok(_) => Ok(Some(czxid?)),
        Err(zk::MultiWriteError::OperationFailed { source: zk::Error::NodeExists | zk::Error::NoNode, .. }) => Ok(None),
        Err(error) => Err(refused(&error.into())),
    }
}
