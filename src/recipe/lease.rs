//! The leases of a pool: reading them, and finding those of one identifier.

use futures::future::try_join_all;
use zookeeper_client as zk;

use crate::recipe::semaphore::Claim;
use crate::recipe::{names, or_missing};
use crate::session::{Doubt, Failure, Session};

/// Leases read with one request, which must stay below the servers' limit of 1 MiB.
const READ_AT_ONCE: usize = 1000;

type Attempt<T> = std::result::Result<T, Failure>;
pub(super) type Read = std::result::Result<(Vec<u8>, zk::Stat), zk::Error>;

/// What a pool holds of a claim's identifier.
pub(super) enum Own {
    /// No lease.
    Nothing,
    /// A lease that is as good as the one claimed.
    Held,
    /// Leases that end with another session, or sooner than the one claimed: a new lease takes their
    /// place, so that what the caller is told lasts as long as the caller asked for.
    Outlived(Vec<String>),
}

/// What the `leases` of the claim's pool say about the claim's identifier.
pub(super) async fn own(session: &Session, claim: &Claim, leases: &[String]) -> Attempt<Own> {
    let (persistent, wanted) = (names::persistent_lease(&claim.identifier), claim.lease_name(session.id()));
    if leases.iter().any(|name| *name == persistent || *name == wanted) {
        return Ok(Own::Held);
    }
    let mut outlived = Vec::new();
    for (name, stat) in by_data(session, claim, leases.iter().cloned()).await? {
        if stat.ephemeral_owner == 0 || (claim.ephemeral && stat.ephemeral_owner == session.id()) {
            return Ok(Own::Held);
        }
        outlived.push(name);
    }
    Ok(if outlived.is_empty() { Own::Nothing } else { Own::Outlived(outlived) })
}

/// Removes every lease of the claim's identifier: `true` when there was one.
pub(super) async fn remove(session: &Session, claim: &Claim, doubt: &Doubt) -> Attempt<bool> {
    if delete(session, &claim.pool, &claim.lease_name(session.id()), doubt).await? {
        return Ok(true);
    }
    let listed = or_missing(session.client().list_children(&claim.pool).await);
    let listed = listed.map_err(|error| session.failure(&error, "read", &claim.pool))?.unwrap_or_default();
    let persistent = names::persistent_lease(&claim.identifier);
    let named = listed.contains(&persistent).then_some(persistent);
    let read = by_data(session, claim, listed.into_iter()).await?;
    let mut removed = false;
    for name in named.into_iter().chain(read.into_iter().map(|(name, _)| name)) {
        removed |= delete(session, &claim.pool, &name, doubt).await?;
    }
    Ok(removed)
}

/// Those of `leases` that carry the claim's identifier in their data, and whose name does not say so.
async fn by_data(
    session: &Session,
    claim: &Claim,
    leases: impl Iterator<Item = String>,
) -> Attempt<Vec<(String, zk::Stat)>> {
    let unknown = leases.filter(|name| !names::tells_identifier(name)).collect();
    let reads = read(session, &claim.pool, unknown).await?.into_iter();
    let own = reads.filter_map(|(name, read)| match read {
        Ok((data, stat)) if data == claim.identifier.as_bytes() => Some((name, stat)),
        // Gone by now, or not ours to read, and so not ours.
        _ => None,
    });
    Ok(own.collect())
}

async fn delete(session: &Session, pool: &str, lease: &str, doubt: &Doubt) -> Attempt<bool> {
    let path = format!("{pool}/{lease}");
    match doubt.write(session.client().delete(&path, None)).await {
        Ok(()) => Ok(true),
        Err(zk::Error::NoNode) => Ok(false),
        Err(error) => Err(session.failure(&error, "delete", &path)),
    }
}

/// Reads children of `parent`, all in one round trip whatever their number.
pub(super) async fn read(session: &Session, parent: &str, names: Vec<String>) -> Attempt<Vec<(String, Read)>> {
    let refused = |error: zk::Error| session.failure(&error, "read", parent);
    let mut reading = Vec::new();
    for chunk in names.chunks(READ_AT_ONCE) {
        let mut reader = session.client().new_multi_reader();
        for name in chunk {
            reader.add_get_data(&format!("{parent}/{name}")).map_err(refused)?;
        }
        reading.push(reader.commit());
    }
    let results = try_join_all(reading).await.map_err(refused)?;
    let reads = results.into_iter().flatten().map(|result| match result {
        zk::MultiReadResult::Data { data, stat } => Ok((data, stat)),
        zk::MultiReadResult::Error { err } => Err(err),
        other => Err(zk::Error::UnexpectedError(format!("a read answered with {other:?}"))),
    });
    Ok(names.into_iter().zip(reads).collect())
}
