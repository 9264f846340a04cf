//! Founding a pool: the first lock of all on a path, which makes the path as well.
//!
//! Pool, queue and the first lease are one transaction, so that this takes no longer than any other
//! lock: where there was no queue nobody can be before us in it, and where there was no pool nobody can
//! hold a slot. Whoever comes second finds all of it, and the transaction fails whole.

use futures::future::join;
use zookeeper_client as zk;

use crate::path;
use crate::recipe::semaphore::Claim;
use crate::record::Limit;
use crate::session::{Failure, Session};

/// Makes the claim's pool with its lease in it: `true`. `false`, with nothing done, where there is a
/// pool or a queue already, or a parent that cannot be made.
pub(super) async fn found(
    session: &Session,
    claim: &Claim,
    queue: &str,
    lease: &str,
) -> std::result::Result<bool, Failure> {
    let refused = |error: &zk::Error| session.failure(error, "create", &claim.pool);
    let persistent = zk::CreateMode::Persistent.with_acls(claim.acls());
    let lease = format!("{}/{lease}", claim.pool);
    let parents = session.make_parents(path::parents(&claim.pool), claim.acls());
    let commit = {
        let mut writer = session.client().new_multi_writer();
        writer
            .add_create(&claim.pool, Limit::encode(claim.limit).as_bytes(), &persistent)
            .and_then(|()| writer.add_create(queue, b"", &persistent))
            .and_then(|()| writer.add_create(&lease, claim.identifier.as_bytes(), &claim.lease_options()))
            .map_err(|error| refused(&error))?;
        writer.commit()
    };
    match join(parents, commit).await.1 {
        Ok(_) => Ok(true),
        Err(zk::MultiWriteError::OperationFailed { source: zk::Error::NodeExists | zk::Error::NoNode, .. }) => {
            Ok(false)
        }
        Err(error) => Err(refused(&error.into())),
    }
}
