//! The leases of a pool: reading them, and finding those of one identifier.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use zookeeper_client as zk;

use crate::children::{self, or_missing};
use crate::client::Client;
use crate::recipe::claim::{Claim, Terms};
use crate::recipe::{hold, names};
use crate::session::{Failure, Session, Unacknowledged};

type Attempt<T> = std::result::Result<T, Failure>;

/// What a pool holds of a claim's identifier.
#[derive(Debug)]
pub(super) enum Own {
    /// No lease.
    Nothing,
    /// A lease that is as good as the one claimed.
    Held,
    /// Leases that will not do, but with which the slot is the identifier's already.
    Beside(Beside),
}

/// Other leases of an identifier, when it takes one more.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// One that has to be there still: else the slot is not the identifier's any more.
    pub(super) witness: Option<String>,
    /// Those that the new one replaces.
    pub(super) replaced: Vec<String>,
}

/// The czxid of a lease that was asked for in the same flight, where the claim is for a hold. The servers' answer to a
/// transaction does not tell it (ZOOKEEPER-4026).
pub(super) fn czxid<'a>(
    session: &'a Session,
    claim: &Claim,
    lease: &'a str,
) -> impl Future<Output = Attempt<Option<i64>>> + Send + 'a {
    let asking = (claim.terms != Terms::Shared).then(|| session.check_stat(lease));
    async move {
        let Some(asking) = asking else { return Ok(None) };
        match asking.await {
            Ok(stat) => Ok(stat.map(|stat| stat.czxid)),
            Err(error) => Err(session.failure(&error, "read", lease)),
        }
    }
}

/// What the `leases` of the claim's pool, and its `queue`, say about the claim's identifier.
pub(super) async fn own(session: &Session, claim: &Claim, leases: &[String], queue: &[String]) -> Attempt<Own> {
    let of = |owner: &str| leases.iter().filter(|name| names::is_of(name, owner)).cloned().collect::<Vec<_>>();
    let (locked, kept) = (of(claim.persistent_owner()), of(claim.kept_owner()));
    let here = claim.ephemeral_owner(session.id());
    let ephemeral = of(&here);
    let noted = session.noted(&claim.pool, &here);
    let is_shared = claim.terms == Terms::Shared;
    if is_shared {
        // A lease that a hold keeps is given back with that hold.
        if !locked.is_empty() || (claim.ephemeral && ephemeral.iter().any(|name| noted.contains(name))) {
            return Ok(Own::Held);
        }
    }
    let mut replaced = Vec::new();
    match claim.terms {
        // A lease that this very process has locked for the time being, and now locks for good.
        Terms::Shared => replaced.extend(ephemeral.iter().filter(|name| noted.contains(name)).cloned()),
        // Nobody will give back a lease whose process is gone.
        Terms::Kept => replaced.extend(kept.iter().filter(|name| !queue.contains(name)).cloned()),
        Terms::Own => {}
    }
    let known = locked.into_iter().chain(kept).chain(ephemeral);
    let mut witness = known.into_iter().find(|name| !replaced.contains(name));
    if is_shared || (witness.is_none() && replaced.is_empty()) {
        let unknown = leases.iter().filter(|name| !names::is_of(name, &here)).cloned();
        let found = by_data(session, claim, unknown).await?;
        if is_shared && found.iter().any(|(_, stat)| stat.ephemeral_owner == 0) {
            return Ok(Own::Held);
        }
        witness = witness.or_else(|| found.into_iter().next().map(|(name, _)| name));
    }
    Ok(if witness.is_none() && replaced.is_empty() {
        Own::Nothing
    } else {
        Own::Beside(Beside { witness: witness.filter(|_| replaced.is_empty()), replaced })
    })
}

/// Of leases of one identifier that were taken by force in the same instant, only the eldest stays.
pub(super) async fn leave_one(session: &Session, claim: &Claim) -> Attempt<()> {
    let unacknowledged = Unacknowledged::new("");
    let listed = or_missing(session.list_children(&claim.pool).await);
    let listed = listed.map_err(|error| session.failure(&error, "read", &claim.pool))?.unwrap_or_default();
    let owner = claim.owner(session.id());
    let noted = session.noted(&claim.pool, &owner);
    // Persistent leases tell by their names that `lock` took them; ephemeral ones may be holds.
    let is_locked = |name: &String| names::is_of(name, &owner) && (!claim.ephemeral || noted.contains(name));
    let own: Vec<_> = listed.into_iter().filter(is_locked).collect();
    if own.len() < 2 {
        return Ok(());
    }
    let read = children::read(session, &claim.pool, own).await?.into_iter();
    let mut there: Vec<_> = read.filter_map(|(name, read)| Some((read.ok()?.1.czxid, name))).collect();
    there.sort_unstable();
    let Some(((_, eldest), younger)) = there.split_first() else {
        return Ok(());
    };
    let refused = |error| session.failure(&error, "delete", &claim.pool);
    let mut deleting = session.writes(&unacknowledged).transaction();
    // Where that one was given back meanwhile, the others are what is held.
    deleting.check(&format!("{}/{eldest}", claim.pool), 0).map_err(refused)?;
    for (_, name) in younger {
        deleting.delete(&format!("{}/{name}", claim.pool)).map_err(refused)?;
    }
    deleting.commit().await.map_err(|error| refused(error.into()))?;
    for (_, name) in younger {
        session.forget(&claim.pool, &owner, name);
        session.keep_no_more_for(&format!("{}/{name}", claim.pool));
    }
    Ok(())
}

/// A lease that an unlock is about to delete.
#[derive(Clone, Debug)]
pub(super) struct Named {
    name: String,
    /// What tells it from a later one, if its name does not.
    czxid: Option<i64>,
    persistent: bool,
    /// A hold keeps it over the end of its process.
    kept: bool,
}

/// What an unlock is about to delete, and whether it was seen to be there: once chosen it stays, so that a
/// repetition after a lost reply takes nothing away that was taken since.
pub(super) type Chosen = Mutex<Option<(Vec<Named>, bool)>>;

/// Removes the leases that `lock` has taken for the claim's identifier in this session, or else those that are found
/// in the pool: `true` when there was one, or may have been before a reply was lost.
///
/// Of those found, the ones of the kind that the claim names go, and only where there is none of that kind the others:
/// an operator who unlocks by hand what was locked by hand leaves alone a job that holds the slot for itself.
pub(super) async fn remove(
    client: &Client,
    session: &Session,
    claim: &Claim,
    unacknowledged: &Unacknowledged,
    chosen: &Chosen,
) -> Attempt<bool> {
    let pool = &claim.pool;
    let choice = || chosen.lock().unwrap_or_else(PoisonError::into_inner);
    let owner = &*claim.owner(session.id());
    let before = choice().clone();
    if let Some((leases, seen)) = before {
        let leases = still_there(session, pool, leases).await?;
        let deleted = delete(client, session, claim, &leases, unacknowledged).await?;
        return if deleted || seen || find(session, claim).await?.is_empty() {
            Ok(deleted || unacknowledged.is_any())
        } else {
            // Either that one was there before and the noted one was not, or it was taken since.
            Err(Failure::Final(session.connection_lost(pool, unacknowledged)))
        };
    }
    let noted = session.noted(pool, owner);
    if !noted.is_empty() {
        let noted: Vec<_> =
            noted.into_iter().map(|name| Named { name, czxid: None, persistent: false, kept: false }).collect();
        *choice() = Some((noted.clone(), false));
        if delete(client, session, claim, &noted, unacknowledged).await? {
            return Ok(true);
        }
        *choice() = None;
    }
    let found = find(session, claim).await?;
    *choice() = Some((found.clone(), true));
    delete(client, session, claim, &found, unacknowledged).await
}

/// The leases of the claim's identifier: those of the claim's kind, or else the others; and of the persistent ones those
/// that were locked, or else those that holds keep.
async fn find(session: &Session, claim: &Claim) -> Attempt<Vec<Named>> {
    let listed = children::list(session, &claim.pool).await?;
    let owners = [claim.persistent_owner(), claim.kept_owner()];
    let named = listed.iter().filter(|name| owners.iter().any(|owner| names::is_of(name, owner))).cloned();
    let locked_or_kept = |name: String| {
        let kept = names::is_of(&name, claim.kept_owner());
        Named { name, czxid: None, persistent: true, kept }
    };
    let mut found: Vec<_> = named.map(locked_or_kept).collect();
    let read = by_data(session, claim, listed.into_iter()).await?.into_iter();
    found.extend(read.map(|(name, stat)| {
        let persistent = stat.ephemeral_owner == 0;
        Named { name, czxid: Some(stat.czxid), persistent, kept: false }
    }));
    let rank = |lease: &Named| (lease.persistent == claim.ephemeral, lease.kept);
    let first = found.iter().map(rank).min();
    Ok(found.into_iter().filter(|lease| Some(rank(lease)) == first).collect())
}

/// Those of `leases` that are not known to have gone: kazoo takes its next lease under the same name.
async fn still_there(session: &Session, pool: &str, leases: Vec<Named>) -> Attempt<Vec<Named>> {
    let (reused, mut rest): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| lease.czxid.is_some());
    let names = reused.iter().map(|lease| lease.name.clone()).collect();
    let now = children::read(session, pool, names).await?.into_iter().zip(reused);
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
    let reads = children::read(session, &claim.pool, unknown).await?.into_iter();
    let own = reads.filter_map(|(name, read)| match read {
        Ok((data, stat)) if data == claim.identifier.as_bytes() => Some((name, stat)),
        // Gone by now, or not ours to read, and so not ours.
        _ => None,
    });
    Ok(own.collect())
}

/// Deletes leases: `true` when one was there.
async fn delete(
    client: &Client,
    session: &Session,
    claim: &Claim,
    leases: &[Named],
    unacknowledged: &Unacknowledged,
) -> Attempt<bool> {
    let mut deleted = false;
    for lease in leases {
        let path = format!("{}/{}", claim.pool, lease.name);
        client.unlocks(&path);
        match session.writes(unacknowledged).delete(&path, None).await {
            Ok(()) => deleted = true,
            Err(zk::Error::NoNode) => {}
            Err(error) => return Err(session.failure(&error, "delete", &path)),
        }
        session.forget(&claim.pool, &claim.owner(session.id()), &lease.name);
        session.keep_no_more_for(&path);
        session.keep_no_more_for(&hold::mark(&names::queue(&claim.pool), &lease.name));
    }
    Ok(deleted)
}
