//! Giving the slot of an identifier back, by whoever names the identifier: `unlock`.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures::future::join3;
use zookeeper_client as zk;

use super::claim::Claim;
use super::lease::{self, by_data};
use super::names;
use crate::children;
use crate::client::Client;
use crate::error::Result;
use crate::recipe::queue::names::queue;
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::Budget;

/// Gives the slot of the claim's identifier back: `true` when the identifier had a lease, `false` when not. Nothing is
/// created.
///
/// A lease that `lock` has taken in this session is deleted with one write. Where there is none the leases of the
/// identifier are looked for, kazoo's and those of other sessions. Of those, the leases of the kind that the claim
/// names are deleted, persistent or ephemeral, and the others only where there is none of that kind: an operator who
/// unlocks by hand what was locked by hand leaves the lease of a running job alone.
///
/// # Errors
/// [`crate::Error::NoAuth`] where the pool's ACL gives no delete permission; [`crate::Error::AuthFailed`],
/// [`crate::Error::Unreachable`], [`crate::Error::ConnectionLost`], [`crate::Error::Cancelled`],
/// [`crate::Error::Server`].
///
/// # Cancellation
/// The error says whether the slot may have been given back already.
///
/// # Lost connection
/// The same leases are deleted again, and those that are gone by then count as given back. A lease that the identifier
/// has taken since is left alone.
pub async fn unlock(client: &Client, claim: &Claim, budget: &Budget) -> Result<bool> {
    let unacknowledged = Unacknowledged::new("the slot may have been given back, or not; ask lock_holders");
    let chosen = Chosen::default();
    let attempt = |session: Session| {
        let (unacknowledged, chosen) = (&unacknowledged, &chosen);
        async move { remove(client, &session, claim, unacknowledged, chosen, budget.started()).await }
    };
    client.write(budget, &claim.pool, &unacknowledged, attempt).await
}

/// A lease that an unlock is about to delete.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    /// What tells the lease from a later one of the same name. Kazoo uses a name again; ours are never used again.
    czxid: Option<i64>,
    persistent: bool,
    /// It is the kept lease of a hold.
    kept: bool,
    /// A reason node says why it is held.
    has_reason_node: bool,
}

/// The leases that an unlock has chosen to delete, and whether they were seen in the pool. The choice stays, so that a
/// repetition after a lost reply deletes no lease that was taken since.
type Chosen = Mutex<Option<(Vec<Named>, bool)>>;

/// Deletes the leases that `lock` has taken for the claim's identifier in this session, or else those that are found in
/// the pool: `true` when there was one, or may have been one before a reply was lost.
async fn remove(
    client: &Client,
    session: &Session,
    claim: &Claim,
    unacknowledged: &Unacknowledged,
    chosen: &Chosen,
    since: Instant,
) -> Attempt<bool> {
    let pool = &claim.pool;
    let choice = || chosen.lock().unwrap_or_else(PoisonError::into_inner);
    let before = choice().clone();
    if let Some((leases, seen)) = before {
        let leases = still_there(session, pool, leases).await?;
        let deleted = delete(client, session, claim, &leases, unacknowledged).await?;
        return if deleted || seen || find(session, claim).await?.is_empty() {
            Ok(deleted || unacknowledged.is_any())
        } else {
            // Either the lease found now was there before and the remembered one was not, or it was taken since.
            Err(Failure::Final(session.connection_lost(pool, unacknowledged)))
        };
    }
    let explained = session.remembered(&names::reasons(pool));
    // What the session before has left is deleted by the next one, or was not yet.
    let before = session.take_remembered_before(|id| claim.key_of(&claim.ephemeral_owner(id)));
    if before.iter().any(|name| session.has_cleared(&claim.path(name), since)) {
        return Ok(true);
    }
    let here = session.remembered(&claim.key(session.id())).into_iter();
    let here = here.map(|name| (explained.contains(&name), name));
    let remembered: Vec<_> = before
        .into_iter()
        .map(|name| (true, name))
        .chain(here)
        .map(|(has_reason_node, name)| Named { name, czxid: None, persistent: false, kept: false, has_reason_node })
        .collect();
    if !remembered.is_empty() {
        *choice() = Some((remembered.clone(), false));
        if delete(client, session, claim, &remembered, unacknowledged).await? {
            return Ok(true);
        }
        *choice() = None;
    }
    let found = find(session, claim).await?;
    *choice() = Some((found.clone(), true));
    delete(client, session, claim, &found, unacknowledged).await
}

/// The leases of the claim's identifier in the pool: those of the claim's kind, or else the others. Of the persistent
/// ones those that `lock` has taken, or else the kept leases of holds.
async fn find(session: &Session, claim: &Claim) -> Attempt<Vec<Named>> {
    // The reasons are read first: one whose lease is not listed after that will not get one any more.
    let (pool, tree) = (&claim.pool, names::reasons(&claim.pool));
    let flight = join3(session.sync(pool), session.list_children(&tree), session.list_children(pool));
    let (synced, explained, listed) = flight.await;
    let refused = |error| session.failure(&error, "read", pool);
    synced.map_err(refused)?;
    let listed = children::or_missing(listed).map_err(refused)?.unwrap_or_default();
    let explained = explained.unwrap_or_default();
    let is_left = |name: &&String| !listed.contains(name) && !names::is_notice(name);
    lease::sweep(session, &claim.pool, explained.iter().filter(is_left)).await;
    let owners = [claim.persistent_owner(), claim.kept_owner()];
    let named = listed.iter().filter(|name| owners.iter().any(|owner| names::is_of(name, owner))).cloned();
    let locked_or_kept = |name: String| {
        let kept = names::is_of(&name, claim.kept_owner());
        let has_reason_node = explained.contains(&name);
        Named { name, czxid: None, persistent: true, kept, has_reason_node }
    };
    let mut found: Vec<_> = named.map(locked_or_kept).collect();
    let read = by_data(session, claim, listed.into_iter()).await?.into_iter();
    found.extend(read.map(|(name, stat)| {
        let (persistent, has_reason_node) = (stat.ephemeral_owner == 0, explained.contains(&name));
        Named { name, czxid: Some(stat.czxid), persistent, kept: false, has_reason_node }
    }));
    let rank = |lease: &Named| (lease.persistent == claim.ephemeral, lease.kept);
    let first = found.iter().map(rank).min();
    Ok(found.into_iter().filter(|lease| Some(rank(lease)) == first).collect())
}

/// Those of `leases` that are not known to be gone. A lease of kazoo's may be gone, and another have its name.
async fn still_there(session: &Session, pool: &str, leases: Vec<Named>) -> Attempt<Vec<Named>> {
    let (reused, mut rest): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| lease.czxid.is_some());
    let names = reused.iter().map(|lease| lease.name.clone()).collect();
    let now = children::read(session, pool, names).await?.into_iter().zip(reused);
    rest.extend(now.filter_map(|((_, read), lease)| (Some(read.ok()?.1.czxid) == lease.czxid).then_some(lease)));
    Ok(rest)
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
        let path = claim.path(&lease.name);
        client.removes(&path);
        match session.writes(unacknowledged).delete(&path, None).await {
            Ok(()) => deleted = true,
            Err(zk::Error::NoNode) => {}
            Err(error) => return Err(session.failure(&error, "delete", &path)),
        }
        if lease.has_reason_node {
            lease::sweep(session, &claim.pool, [&lease.name].into_iter()).await;
        }
        session.forget(&claim.key(session.id()), &lease.name);
        session.forget(&names::reasons(&claim.pool), &lease.name);
        session.keep_no_more_for(&path);
        session.keep_no_more_for(&names::liveness_node(&queue(&claim.pool), &lease.name));
    }
    Ok(deleted)
}
