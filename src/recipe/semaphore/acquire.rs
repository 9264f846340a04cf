//! Acquiring a slot, and what a caller is told: `lock`, and taking a hold.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, Mutex};

use super::claim::{Claim, Terms};
use super::claimant::{Claimant, Outcome, Withdrawal};
use super::hold::Hold;
use super::lease;
use super::release::{give_back, release};
use crate::client::{Client, Outage};
use crate::error::{Error, Result};
use crate::recipe::queue;
use crate::recipe::queue::contender::Positions;
use crate::session::{Failure, Session};
use crate::wait::deadline::Timeout;
use crate::wait::{Budget, Cancel, Cut};

/// How long a caller who gave up waits for its place to be tidied away.
const GRACE: Duration = Duration::from_secs(1);

/// What a caller who gave up is left with.
const UNTAKEN: &str = "this call took no slot, and left no place in the queue";
const UNTIDIED: &str =
    "this call took no slot; its place in the queue goes when there is a connection, or with the session";
const UNRESOLVED: &str = "a slot may be held; it is given back as soon as a server answers, while this process lives";

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
        Acquired::No => Err(client.unreachable(budget.elapsed())),
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
    // A claimant watches the queue node before its own, or, as the first, the pool and its children.
    let client = &client.watching(2 * claim.pool.len() + queue::names::NODE_SUFFIX);
    let claim = Arc::new(claim);
    let kept: Mutex<Option<Claimant>> = Mutex::new(None);
    let attempt = |session: Session| {
        let (kept, claim, positions) = (&kept, &claim, &positions);
        async move {
            let mut kept = kept.lock().await;
            let claimant = match kept.take() {
                Some(claimant) if claimant.is_in(&session) => kept.insert(claimant),
                before => {
                    let progress = before.map(|claimant| claimant.progress()).unwrap_or_default();
                    kept.insert(Claimant::new(session, claim.clone(), progress, positions.clone(), force))
                }
            };
            claimant.contend(budget.timeout()).await
        }
    };
    let end = client.attempts(budget, &claim.pool, Outage::IsOutlasted, attempt).await;
    let Some(claimant) = kept.into_inner() else {
        return match end {
            Ok(Err(error)) => Err(error),
            Err(Cut::Cancelled) => Err(client.cancelled(budget, &claim.pool, UNTAKEN)),
            Ok(Ok(_)) | Err(Cut::TimedOut) => Err(client.unreachable(budget.elapsed())),
        };
    };
    if let Ok(Ok(Outcome::Taken(czxid))) = end {
        let taken = claimant.hold(czxid);
        // The slot is held, whatever becomes of these.
        if force && claim.terms == Terms::Shared {
            let _ = tokio::time::timeout(GRACE, lease::leave_one(claimant.session(), &claim)).await;
        }
        let _ = withdraw(client, claimant).await;
        return Ok(Acquired::Taken(taken));
    }
    settle(client, claimant, budget, &claim.pool, end).await
}

/// What a caller is told whose wait has ended otherwise than with a lease.
async fn settle(
    client: &Client,
    claimant: Claimant,
    budget: &Budget,
    pool: &str,
    end: std::result::Result<Result<Outcome>, Cut>,
) -> Result<Acquired> {
    let (unsure, is_connected) = (claimant.progress().is_unsure(), claimant.session().is_connected());
    let hold = claimant.hold(None);
    let withdrawal = withdraw(client, claimant).await;
    let unresolved = || Err(client.connection_lost(pool, UNRESOLVED));
    let was_refused = matches!(end, Ok(Err(_)));
    match (end, withdrawal) {
        (Ok(Ok(Outcome::Full)) | Err(Cut::TimedOut), Some(Ok(Withdrawal::Lease(czxid)))) => {
            Ok(Acquired::Taken(Hold { czxid, ..hold }))
        }
        (Ok(Ok(Outcome::Already)), _) => Ok(Acquired::Already),
        // The lease came, and nobody wants it any more.
        (end, Some(Ok(Withdrawal::Lease(czxid)))) => {
            let lease = Hold { czxid, ..hold };
            let short = Budget::answer(Timeout::For(GRACE), GRACE, Cancel::default());
            match (release(client, &lease, &short).await, end) {
                (Ok(_), Ok(Err(error))) if !matches!(error, Error::Cancelled { .. }) => Err(error),
                (Ok(_), _) => Err(client.cancelled(budget, pool, UNTAKEN)),
                (Err(_), _) => unresolved(),
            }
        }
        (_, None | Some(Err(_))) if unsure => unresolved(),
        (_, Some(Err(error))) if !was_refused => Err(error),
        (Ok(Ok(_)), _) => Ok(Acquired::No),
        (Ok(Err(Error::Cancelled { .. })) | Err(Cut::Cancelled), None) => Err(client.cancelled(budget, pool, UNTIDIED)),
        (Ok(Err(Error::Cancelled { .. })) | Err(Cut::Cancelled), _) => Err(client.cancelled(budget, pool, UNTAKEN)),
        (Ok(Err(error)), _) => Err(error),
        (Err(Cut::TimedOut), Some(Ok(Withdrawal::NoLease))) if is_connected => Ok(Acquired::No),
        (Err(Cut::TimedOut), _) => Err(client.unreachable(budget.elapsed())),
    }
}

/// Withdraws a claimant: in the background where that takes longer than the grace, or where there is no connection to
/// wait for. Then, and where a lease may still come, the answer is `None`, and a lease that turns up is given back. The
/// error: the ACL forbids to delete the queue node.
async fn withdraw(client: &Client, claimant: Claimant) -> Option<Result<Withdrawal>> {
    if claimant.is_settled() {
        return Some(Ok(Withdrawal::NoLease));
    }
    let grace = if claimant.session().is_connected() { GRACE } else { Duration::ZERO };
    let (sender, mut receiver) = oneshot::channel();
    let (withdrawing, lease, in_background) = (client.clone(), claimant.hold(None), claimant.hold(None));
    let unsure = claimant.progress().is_unsure();
    client.clone().in_background(|cancel| async move {
        let withdrawal = tokio::select! {
            withdrawal = claimant.withdraw() => withdrawal,
            () = cancel.cancelled() => return,
        };
        let may_come = unsure && !matches!(withdrawal, Ok(Withdrawal::NoLease));
        match sender.send(withdrawal) {
            Err(_) if may_come => give_back(&withdrawing, in_background),
            Ok(()) | Err(_) => {}
        }
    });
    let withdrawal = tokio::time::timeout(grace, &mut receiver).await;
    // From here on the task in the background has nobody to tell of a lease, and gives it back.
    receiver.close();
    let withdrawal = match withdrawal {
        Ok(withdrawal) => withdrawal.ok()?,
        Err(_) => receiver.try_recv().ok()?,
    };
    if unsure && withdrawal.is_err() {
        give_back(client, lease);
    }
    match withdrawal {
        Ok(withdrawal) => Some(Ok(withdrawal)),
        Err(Failure::Final(error)) => Some(Err(error)),
        Err(Failure::Lost | Failure::Gone) => None,
    }
}

/// Gives back a slot that was taken for a caller who was interrupted `by` something at that moment; what to tell instead.
pub async fn undo(client: &Client, taken: &Hold, by: &'static str) -> Error {
    let short = Budget::answer(Timeout::For(GRACE), GRACE, Cancel::default());
    match release(client, taken, &short).await {
        Ok(_) => {
            let consequence = "the slot that was taken was given back";
            Error::Cancelled { path: taken.pool.clone(), by, consequence }
        }
        Err(_) => client.connection_lost(&taken.pool, UNRESOLVED),
    }
}
