//! N slots on a path: at most N identifiers hold a lease there. A lock is a semaphore of one slot.
//!
//! First in, first out among those who wait, kazoo's and Salt's contenders included. What a contender does is in
//! `place`, what a holder does in [`hold`](crate::recipe::hold), what znodes are called in [`names`].
//!
//! `lock` and `unlock` go by the identifier: acquiring again is idempotent and not counted, and anybody who names the
//! identifier releases it. A hold goes by its own lease ([`Terms`](crate::recipe::claim::Terms)).
//!
//! Source: the semaphore of kazoo (`kazoo.recipe.lock.Semaphore`), whose znodes these are; the lock
//! recipe of ZooKeeper's documentation; lost replies after Curator's protected creates.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, Mutex};
use zookeeper_client as zk;

use crate::children;
use crate::client::{Client, Outage};
use crate::deadline::Patience;
use crate::error::{Error, Result};
use crate::recipe::claim::{Claim, Terms};
use crate::recipe::hold::{self, Hold};
use crate::recipe::place::{Left, Outcome, Place};
use crate::recipe::{data, lease, names};
use crate::session::{Failure, Session, Unacknowledged};
use crate::wait::{Budget, Cancel, Cut};

pub use crate::recipe::place::Positions;

/// How long a caller who gave up waits for its place to be tidied away.
const GRACE: Duration = Duration::from_secs(1);

/// What a caller who gave up is left with.
const UNTAKEN: &str = "this call took no slot, and left no place in the queue";
const UNTIDIED: &str =
    "this call took no slot; its place in the queue goes when there is a connection, or with the session";
const IN_DOUBT: &str = "a slot may be held; it is given back as soon as a server answers, while this process lives";

/// How a claim fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// A slot was taken by this call.
    Taken(Hold),
    /// The identifier held one before, which lasts as long as the one claimed.
    Already,
    /// The time was up; nothing is held.
    No,
}

/// Acquires a slot.
///
/// A session that expires loses the place in the queue, and the wait goes on from its end with the
/// time that is left. An ensemble that cannot be reached at the start is an error within its connect
/// timeout; one that goes away later is waited for. On cancel, and on any error, this call holds no
/// slot and leaves no znode, unless the error says otherwise. Then the slot is given back in the background.
/// `positions` is told the place in the queue while it waits.
///
/// # Errors
/// [`Error::LimitMismatch`], [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`],
/// [`Error::ConnectionLost`] if at the end of the time nobody answers who could say whether the slot
/// is held, [`Error::Cancelled`], [`Error::Server`].
pub async fn acquire(client: &Client, claim: Claim, budget: &Budget, positions: Option<Positions>) -> Result<Acquired> {
    contend(client, claim, budget, positions, false).await
}

/// Takes a slot at once, whatever the count, whoever waits, and whatever number the pool stores. It goes by
/// way of a place in the queue all the same: a request that comes late finds that gone, and does nothing.
///
/// # Errors
/// As [`acquire`], without the mismatch; [`Error::Unreachable`] also where the servers took too long.
pub async fn force(client: &Client, claim: Claim, budget: &Budget) -> Result<Acquired> {
    match contend(client, claim, budget, None, true).await? {
        Acquired::No => Err(client.unreachable(budget.spent())),
        acquired => Ok(acquired),
    }
}

async fn contend(
    client: &Client,
    claim: Claim,
    budget: &Budget,
    positions: Option<Positions>,
    force: bool,
) -> Result<Acquired> {
    // The place before one's own, or, as the first, the pool and its children.
    let client = &client.with_room(2 * claim.pool.len() + names::PLACE_SUFFIX);
    let claim = Arc::new(claim);
    let kept: Mutex<Option<Place>> = Mutex::new(None);
    let attempt = |session: Session| {
        let (kept, claim, positions) = (&kept, &claim, &positions);
        async move {
            let mut kept = kept.lock().await;
            let place = match kept.take() {
                Some(place) if place.is_in(&session) => kept.insert(place),
                before => {
                    let progress = before.map(|place| place.progress()).unwrap_or_default();
                    let place = kept.insert(Place::new(session, claim.clone(), progress, positions.clone()));
                    place.force = force;
                    place
                }
            };
            place.contend(budget.patience()).await
        }
    };
    let end = client.attempts(budget, &claim.pool, Outage::IsOutlasted, attempt).await;
    let Some(place) = kept.into_inner() else {
        return match end {
            Ok(Err(error)) => Err(error),
            Err(Cut::Cancelled) => Err(client.cancelled(budget, &claim.pool, UNTAKEN)),
            Ok(Ok(_)) | Err(Cut::TimedOut) => Err(client.unreachable(budget.spent())),
        };
    };
    if let Ok(Ok(Outcome::Taken(czxid))) = end {
        let taken = place.hold(czxid);
        // The slot is held, whatever becomes of these.
        if force && claim.terms == Terms::Shared {
            let _ = tokio::time::timeout(GRACE, lease::leave_one(place.session(), &claim)).await;
        }
        let _ = leave(client, place).await;
        return Ok(Acquired::Taken(taken));
    }
    settle(client, place, budget, &claim.pool, end).await
}

/// What a caller is told whose wait has ended otherwise than with a lease.
async fn settle(
    client: &Client,
    place: Place,
    budget: &Budget,
    pool: &str,
    end: std::result::Result<Result<Outcome>, Cut>,
) -> Result<Acquired> {
    let (unsure, is_connected) = (place.progress().is_unsure(), place.session().is_connected());
    let found = place.hold(None);
    let left = leave(client, place).await;
    let in_doubt = || Err(client.connection_lost(pool, IN_DOUBT));
    let was_refused = matches!(end, Ok(Err(_)));
    match (end, left) {
        (Ok(Ok(Outcome::Full)) | Err(Cut::TimedOut), Some(Ok(Left::Lease(czxid)))) => {
            Ok(Acquired::Taken(Hold { czxid, ..found }))
        }
        (Ok(Ok(Outcome::Already)), _) => Ok(Acquired::Already),
        // The lease came, and nobody wants it any more.
        (end, Some(Ok(Left::Lease(czxid)))) => {
            let lease = Hold { czxid, ..found };
            let short = Budget::answer(Patience::For(GRACE), GRACE, Cancel::default());
            match (hold::release(client, &lease, &short).await, end) {
                (Ok(_), Ok(Err(error))) if !matches!(error, Error::Cancelled { .. }) => Err(error),
                (Ok(_), _) => Err(client.cancelled(budget, pool, UNTAKEN)),
                (Err(_), _) => in_doubt(),
            }
        }
        (_, None | Some(Err(_))) if unsure => in_doubt(),
        (_, Some(Err(error))) if !was_refused => Err(error),
        (Ok(Ok(_)), _) => Ok(Acquired::No),
        (Ok(Err(Error::Cancelled { .. })) | Err(Cut::Cancelled), None) => Err(client.cancelled(budget, pool, UNTIDIED)),
        (Ok(Err(Error::Cancelled { .. })) | Err(Cut::Cancelled), _) => Err(client.cancelled(budget, pool, UNTAKEN)),
        (Ok(Err(error)), _) => Err(error),
        (Err(Cut::TimedOut), Some(Ok(Left::Nothing))) if is_connected => Ok(Acquired::No),
        (Err(Cut::TimedOut), _) => Err(client.unreachable(budget.spent())),
    }
}

/// Leaves the queue: in the background where that takes longer than the grace, or where there is no
/// connection to wait for; then, and where a lease may still come, `None`, and a lease that turns up is given back. The
/// error: a place that may not be removed.
async fn leave(client: &Client, place: Place) -> Option<Result<Left>> {
    if place.is_left() {
        return Some(Ok(Left::Nothing));
    }
    let grace = if place.session().is_connected() { GRACE } else { Duration::ZERO };
    let (sender, mut receiver) = oneshot::channel();
    let (leaving, lease, in_background) = (client.clone(), place.hold(None), place.hold(None));
    let unsure = place.progress().is_unsure();
    client.clone().in_background(|cancel| async move {
        let left = tokio::select! {
            left = place.leave() => left,
            () = cancel.cancelled() => return,
        };
        let may_come = unsure && !matches!(left, Ok(Left::Nothing));
        match sender.send(left) {
            Err(_) if may_come => hold::give_back(&leaving, in_background),
            Ok(()) | Err(_) => {}
        }
    });
    let left = tokio::time::timeout(grace, &mut receiver).await;
    // From here on what is found has nobody to be told.
    receiver.close();
    let left = match left {
        Ok(left) => left.ok()?,
        Err(_) => receiver.try_recv().ok()?,
    };
    if unsure && left.is_err() {
        hold::give_back(client, lease);
    }
    match left {
        Ok(left) => Some(Ok(left)),
        Err(Failure::Final(error)) => Some(Err(error)),
        Err(Failure::Lost | Failure::Gone) => None,
    }
}

/// Gives back a slot that was taken for a caller who was interrupted `by` something at that moment; what to tell instead.
pub async fn undo(client: &Client, taken: &Hold, by: &'static str) -> Error {
    let short = Budget::answer(Patience::For(GRACE), GRACE, Cancel::default());
    match hold::release(client, taken, &short).await {
        Ok(_) => {
            let consequence = "the slot that was taken was given back";
            Error::Cancelled { path: taken.pool.clone(), by, consequence }
        }
        Err(_) => client.connection_lost(&taken.pool, IN_DOUBT),
    }
}

/// Releases the identifier's slot: `true` when it held one, `false` when not. Nothing is created.
///
/// A lease that `lock` has taken in this session goes with one write; if there is none, the leases of the
/// identifier are looked for, kazoo's and those of other sessions. After a lost reply the same leases are
/// deleted again, and those that are gone by then count as released.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::Cancelled`],
/// [`Error::Server`].
pub async fn release(client: &Client, claim: &Claim, budget: &Budget) -> Result<bool> {
    let unacknowledged = Unacknowledged::new("the slot may have been given back, or not; ask lock_holders");
    let chosen = lease::Chosen::default();
    let attempt = |session: Session| {
        let (unacknowledged, chosen) = (&unacknowledged, &chosen);
        async move { lease::remove(client, &session, claim, unacknowledged, chosen).await }
    };
    client.write(budget, &claim.pool, &unacknowledged, attempt).await
}

/// The identifiers that hold a slot, once for each of their leases, in no order. A missing pool has none. Nothing is created.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::Cancelled`].
pub async fn holders(client: &Client, pool: &str, budget: &Budget) -> Result<Vec<String>> {
    client
        .answer(budget, pool, |session| async move {
            let leases = children::list(&session, pool).await?;
            let mut holders = Vec::with_capacity(leases.len());
            for (name, read) in children::read(&session, pool, leases).await? {
                match read {
                    Ok((data, _)) => holders.push(data::identifier(&data).into_owned()),
                    Err(zk::Error::NoNode) => {}
                    Err(error) => return Err(session.failure(&error, "read", &format!("{pool}/{name}"))),
                }
            }
            Ok(holders)
        })
        .await
}
