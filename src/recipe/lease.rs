//! The leases of a pool: reading them, and finding those of one identifier.

use std::sync::{Mutex, PoisonError};

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
    let owners = [names::persistent_owner(&claim.identifier), claim.owner(session.id())];
    if leases.iter().any(|name| owners.iter().any(|owner| names::is_of(name, owner))) {
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

/// What an unlock is about to delete: once chosen it stays, so that a repetition after a lost reply takes
/// nothing away that was taken since.
pub(super) type Chosen = Mutex<Option<Vec<String>>>;

/// Removes the claim's lease that this session has taken, or else every lease of the claim's identifier:
/// `true` when there was one, or may have been before a reply was lost.
pub(super) async fn remove(session: &Session, claim: &Claim, doubt: &Doubt, chosen: &Chosen) -> Attempt<bool> {
    let choice = || chosen.lock().unwrap_or_else(PoisonError::into_inner);
    let before = choice().clone().or_else(|| Some(vec![session.noted(&claim.pool, claim.owner(session.id()))?]));
    if let Some(names) = before {
        *choice() = Some(names.clone());
        let deleted = delete(session, &claim.pool, &names, doubt).await?;
        session.note(&claim.pool, claim.owner(session.id()), None);
        if deleted || doubt.is_unanswered() {
            return Ok(true);
        }
    }
    let listed = or_missing(session.client().list_children(&claim.pool).await);
    let listed = listed.map_err(|error| session.failure(&error, "read", &claim.pool))?.unwrap_or_default();
    let persistent = names::persistent_owner(&claim.identifier);
    let named: Vec<_> = listed.iter().filter(|name| names::is_of(name, &persistent)).cloned().collect();
    let read = by_data(session, claim, listed.into_iter()).await?;
    let names: Vec<_> = named.into_iter().chain(read.into_iter().map(|(name, _)| name)).collect();
    *choice() = Some(names.clone());
    Ok(delete(session, &claim.pool, &names, doubt).await? || doubt.is_unanswered())
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

/// Deletes leases: `true` when one was there.
async fn delete(session: &Session, pool: &str, leases: &[String], doubt: &Doubt) -> Attempt<bool> {
    let mut deleted = false;
    for lease in leases {
        let path = format!("{pool}/{lease}");
        match doubt.write(session.client().delete(&path, None)).await {
            Ok(()) => deleted = true,
            Err(zk::Error::NoNode) => {}
            Err(error) => return Err(session.failure(&error, "delete", &path)),
        }
    }
    Ok(deleted)
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
