//! Which leases of a pool are an identifier's: by their names where those tell it, and else by their data.

use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use zookeeper_client as zk;

use super::claim::{Claim, Terms};
use super::reason::Reason;
use super::{names, reason};
use crate::children::{self, or_missing};
use crate::recipe::queue;
use crate::session::{Attempt, Reply, Session, Transaction, Unacknowledged};

/// How long a caller waits until reason nodes are deleted.
const SWEEPING: Duration = Duration::from_secs(1);

/// What a pool holds of a claim's identifier.
#[derive(Debug)]
pub(super) enum OwnLeases {
    /// No lease.
    None,
    /// A lease that is as good as the one claimed.
    Sufficient,
    /// Leases that will not do, but with which the slot is the identifier's already.
    Others(OtherLeases),
}

/// Other leases of an identifier, when it takes one more.
#[derive(Debug, Default)]
pub(super) struct OtherLeases {
    /// A lease that has to be there still: without it the slot is not the identifier's any more.
    pub(super) witness: Option<String>,
    /// The leases that the new one replaces.
    pub(super) replaced: Vec<String>,
}

/// The czxid of a lease, where the claim is for a hold. It is asked for in the same flight as the transaction that
/// creates the lease, because the servers' answer to a transaction does not tell it (ZOOKEEPER-4026). `None` as well where
/// the caller may not read the lease, which ZooKeeper 3.9 asks for: the lease is there all the same.
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
            Err(zk::Error::NoAuth) => Ok(None),
            Err(error) => Err(session.failure(&error, "read", lease)),
        }
    }
}

/// What the `leases` of the claim's pool, and its `queue`, say about the claim's identifier.
pub(super) async fn own(session: &Session, claim: &Claim, leases: &[String], queue: &[String]) -> Attempt<OwnLeases> {
    if leases.is_empty() {
        return Ok(OwnLeases::None);
    }
    let of = |owner: &str| leases.iter().filter(|name| names::is_of(name, owner)).cloned().collect::<Vec<_>>();
    let (locked, kept) = (of(claim.persistent_owner()), of(claim.kept_owner()));
    let here = claim.ephemeral_owner(session.id());
    let ephemeral = of(&here);
    // What `lock` has taken. An ephemeral lease of this session that is not remembered belongs to a hold.
    let locked_here = session.remembered(&claim.key_of(&here));
    let is_shared = claim.terms == Terms::Shared;
    if is_shared {
        // A kept lease does not satisfy it: its hold may give it back at any time.
        if !locked.is_empty() || (claim.ephemeral && ephemeral.iter().any(|name| locked_here.contains(name))) {
            return Ok(OwnLeases::Sufficient);
        }
    }
    let mut replaced = Vec::new();
    match claim.terms {
        // This session has locked them for the time being, and now locks for good.
        Terms::Shared => replaced.extend(ephemeral.iter().filter(|name| locked_here.contains(name)).cloned()),
        // Their liveness nodes are gone, and with them the processes that would give them back.
        Terms::Kept => replaced.extend(kept.iter().filter(|name| !queue.contains(name)).cloned()),
        Terms::Own => {}
    }
    let known = locked.into_iter().chain(kept).chain(ephemeral);
    let mut witness = known.into_iter().find(|name| !replaced.contains(name));
    if is_shared || (witness.is_none() && replaced.is_empty()) {
        let unknown = leases.iter().filter(|name| !names::is_of(name, &here)).cloned();
        let found = by_data(session, claim, unknown).await?;
        if is_shared && found.iter().any(|(_, stat)| stat.ephemeral_owner == 0) {
            return Ok(OwnLeases::Sufficient);
        }
        witness = witness.or_else(|| found.into_iter().next().map(|(name, _)| name));
    }
    Ok(if witness.is_none() && replaced.is_empty() {
        OwnLeases::None
    } else {
        OwnLeases::Others(OtherLeases { witness: witness.filter(|_| replaced.is_empty()), replaced })
    })
}

/// Of leases of one identifier that were taken by force in the same instant, only the eldest stays.
pub(super) async fn leave_one(session: &Session, claim: &Claim) -> Attempt<()> {
    let unacknowledged = Unacknowledged::new("");
    let listed = or_missing(session.list_children(&claim.pool).await);
    let listed = listed.map_err(|error| session.failure(&error, "read", &claim.pool))?.unwrap_or_default();
    let owner = claim.owner(session.id());
    let locked_here = session.remembered(&claim.key(session.id()));
    // Persistent leases tell by their names that `lock` took them; ephemeral ones may be holds.
    let is_locked = |name: &String| names::is_of(name, &owner) && (!claim.ephemeral || locked_here.contains(name));
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
    // If the eldest was given back meanwhile, the others stay: they are what the identifier holds.
    deleting.check(&claim.path(eldest), 0).map_err(refused)?;
    for (_, name) in younger {
        deleting.delete(&claim.path(name), None).map_err(refused)?;
    }
    deleting.commit().await.map_err(|error| session.not_committed(&error))?;
    for (_, name) in younger {
        session.forget(&claim.key(session.id()), name);
        session.forget(&names::reasons(&claim.pool), name);
        session.keep_no_more_for(&claim.path(name));
    }
    sweep(session, &claim.pool, younger.iter().map(|(_, name)| name)).await;
    Ok(())
}

/// Those of `leases` that have the claim's identifier in their data, among those whose names do not tell it.
pub(super) async fn by_data(
    session: &Session,
    claim: &Claim,
    leases: impl Iterator<Item = String>,
) -> Attempt<Vec<(String, zk::Stat)>> {
    let unknown = leases.filter(|name| !names::tells_identifier(name)).collect();
    let reads = children::read(session, &claim.pool, unknown).await?.into_iter();
    let own = reads.filter_map(|(name, read)| match read {
        Ok((data, stat)) if data == claim.identifier.as_bytes() => Some((name, stat)),
        // It is gone by now, or the ACL forbids to read it, so that it is no lease of this identifier.
        _ => None,
    });
    Ok(own.collect())
}

/// Deletes the reason nodes of leases that are gone, within a second. One that is left says nothing to anybody.
pub(super) async fn sweep(session: &Session, pool: &str, leases: impl Iterator<Item = &String>) {
    let unacknowledged = Unacknowledged::new("");
    let paths: Vec<_> = leases.map(|name| reason::node(pool, name)).collect();
    let deleting = join_all(paths.iter().map(|path| session.writes(&unacknowledged).delete(path, None)));
    let _ = tokio::time::timeout(SWEEPING, deleting).await;
}

/// Makes the tree of the reason nodes beside the pool. It may be used by whoever may use the queue.
pub(super) async fn make_reason_tree(session: &Session, claim: &Claim, unacknowledged: &Unacknowledged) -> Reply<()> {
    let queue = queue::names::queue(&claim.pool);
    let acl = session.get_acl(&queue).await.map(|(acl, _)| acl).unwrap_or_default();
    let acls = if acl.is_empty() { claim.acls() } else { zk::Acls::new(&acl) };
    let persistent = zk::CreateMode::Persistent.with_acls(acls);
    session.writes(unacknowledged).create(&names::reasons(&claim.pool), b"", &persistent).await.map(drop)
}

/// Adds the lease to a transaction, with what belongs to it: the liveness node of a kept lease, and the reason node.
pub(super) fn add(
    transaction: &mut Transaction<'_>,
    claim: &Claim,
    queue: &str,
    lease: &str,
    reason: Option<&Reason>,
) -> Reply<()> {
    transaction.create(&claim.path(lease), claim.identifier.as_bytes(), &claim.lease_options())?;
    if claim.terms == Terms::Kept {
        let ephemeral = zk::CreateMode::Ephemeral.with_acls(claim.acls());
        transaction.create(&names::liveness_node(queue, lease), claim.identifier.as_bytes(), &ephemeral)?;
    }
    if let Some(reason) = reason {
        transaction.create(&reason::node(&claim.pool, lease), &reason.encode(), &claim.lease_options())?;
    }
    Ok(())
}
