//! The leases of a pool: reading them, and finding those of one identifier.

use std::sync::{Mutex, PoisonError};

use futures::future::try_join_all;
use zookeeper_client as zk;

use crate::recipe::semaphore::Claim;
use crate::recipe::{children, names, or_missing};
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
    let owners = [claim.persistent_owner().into(), claim.owner(session.id())];
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

/// Of leases of one identifier that were taken by force in the same instant, only the eldest stays.
pub(super) async fn leave_one(session: &Session, claim: &Claim) -> Attempt<()> {
    let listed = or_missing(session.client().list_children(&claim.pool).await);
    let listed = listed.map_err(|error| session.failure(&error, "read", &claim.pool))?.unwrap_or_default();
    let owner = claim.owner(session.id());
    let own: Vec<_> = listed.into_iter().filter(|name| names::is_of(name, &owner)).collect();
    if own.len() < 2 {
        return Ok(());
    }
    let read = read(session, &claim.pool, own).await?.into_iter();
    let mut there: Vec<_> = read.filter_map(|(name, read)| Some((read.ok()?.1.czxid, name))).collect();
    there.sort_unstable();
    let Some(((_, eldest), younger)) = there.split_first() else {
        return Ok(());
    };
    let refused = |error| session.failure(&error, "delete", &claim.pool);
    let deleting = {
        let mut writer = session.client().new_multi_writer();
        // Where that one was given back meanwhile, the others are what is held.
        writer.add_check_version(&format!("{}/{eldest}", claim.pool), 0).map_err(refused)?;
        for (_, name) in younger {
            writer.add_delete(&format!("{}/{name}", claim.pool), None).map_err(refused)?;
        }
        writer.commit()
    };
    deleting.await.map(drop).map_err(|error| refused(error.into()))
}

/// A lease that an unlock is about to delete.
#[derive(Clone, Debug)]
pub(super) struct Named {
    name: String,
    /// What tells it from a later one, if its name does not.
    czxid: Option<i64>,
}

/// What an unlock is about to delete, and whether it was seen to be there: once chosen it stays, so that a
/// repetition after a lost reply takes nothing away that was taken since.
pub(super) type Chosen = Mutex<Option<(Vec<Named>, bool)>>;

/// Removes the claim's lease that this session has taken, or else every lease of the claim's identifier:
/// `true` when there was one, or may have been before a reply was lost.
pub(super) async fn remove(session: &Session, claim: &Claim, doubt: &Doubt, chosen: &Chosen) -> Attempt<bool> {
    let pool = &claim.pool;
    let choice = || chosen.lock().unwrap_or_else(PoisonError::into_inner);
    let owner = claim.owner(session.id()).into_owned();
    let before = choice().clone();
    if let Some((leases, seen)) = before {
        let leases = still_there(session, pool, leases).await?;
        let deleted = delete(session, pool, &leases, doubt).await?;
        session.note(pool, owner, None);
        return if deleted || seen || find(session, claim).await?.is_empty() {
            Ok(deleted || doubt.is_unanswered())
        } else {
            // Either that one was there before and the noted one was not, or it was taken since.
            Err(Failure::Final(session.in_doubt(pool, doubt)))
        };
    }
    if let Some(name) = session.noted(pool, owner.clone()) {
        let noted = vec![Named { name, czxid: None }];
        *choice() = Some((noted.clone(), false));
        let deleted = delete(session, pool, &noted, doubt).await?;
        session.note(pool, owner, None);
        if deleted {
            return Ok(true);
        }
        *choice() = None;
    }
    let found = find(session, claim).await?;
    *choice() = Some((found.clone(), true));
    delete(session, pool, &found, doubt).await
}

/// All leases of the claim's identifier.
async fn find(session: &Session, claim: &Claim) -> Attempt<Vec<Named>> {
    let listed = children(session, &claim.pool).await?;
    let persistent = claim.persistent_owner();
    let named = listed.iter().filter(|name| names::is_of(name, persistent)).cloned();
    let mut found: Vec<_> = named.map(|name| Named { name, czxid: None }).collect();
    let read = by_data(session, claim, listed.into_iter()).await?.into_iter();
    found.extend(read.map(|(name, stat)| Named { name, czxid: Some(stat.czxid) }));
    Ok(found)
}

/// Those of `leases` that are not known to have gone: kazoo takes its next lease under the same name.
async fn still_there(session: &Session, pool: &str, leases: Vec<Named>) -> Attempt<Vec<Named>> {
    let (reused, mut rest): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| lease.czxid.is_some());
    let names = reused.iter().map(|lease| lease.name.clone()).collect();
    let now = read(session, pool, names).await?.into_iter().zip(reused);
    rest.extend(now.filter_map(|((_, read), lease)| (Some(read.ok()?.1.czxid) == lease.czxid).then_some(lease)));
    Ok(rest)
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
async fn delete(session: &Session, pool: &str, leases: &[Named], doubt: &Doubt) -> Attempt<bool> {
    let mut deleted = false;
    for lease in leases {
        let path = format!("{pool}/{}", lease.name);
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
