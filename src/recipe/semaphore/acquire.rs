//! Acquiring a slot, and what a caller is told: `lock`, and taking a hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, Mutex};

use super::claim::{Claim, Terms};
use super::claimant::{Claimant, Outcome, Withdrawal};
use super::hold::{Hold, Of};
use super::lease;
use super::release::{give_back, release};
use crate::client::{Client, Outage};
use crate::error::{Error, Result};
use crate::recipe::queue;
use crate::recipe::queue::contender::Positions;
use crate::session::{Failure, Session};
use crate::wait::deadline::Timeout;
use crate::wait::{Budget, Cancel, Cut};

/// How long a caller who gave up waits until its queue node is deleted.
const GRACE: Duration = Duration::from_secs(1);

/// What a caller who gave up has left behind.
const UNTAKEN: &str = "this call took no slot, and left no queue node";
const UNTIDIED: &str =
    "this call took no slot; its queue node is deleted when there is a connection, or by the servers with its session";

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// This call has taken a lease.
    Taken(Hold),
    /// The identifier had a lease before, which lasts as long as the claimed one would.
    Already,
    /// The time was up; nothing is held.
    No,
}

/// Waits for a slot of the claim's pool, and takes it.
///
/// `positions` is given the position in the queue whenever it is seen to change: 1 is next. The time in `budget` is for
/// everything together. A budget for trying once waits for the answers of the servers, but for no other contender.
///
/// # Errors
/// [`Error::LimitMismatch`] where the pool stores another limit than the claim's when the wait begins;
/// [`Error::NoAuth`] with the permission that is missing; [`Error::AuthFailed`], [`Error::NoTicket`], [`Error::Tls`]
/// where no session is to be had; [`Error::Unreachable`] where no server answered within the connect timeout at the
/// start, or at the end of the time; [`Error::ConnectionLost`] where at the end no server could say whether the lease
/// was taken; [`Error::Cancelled`]; [`Error::Server`] where the servers refused for a reason of their own.
///
/// # Cancellation
/// The queue node is deleted, and a lease that was taken meanwhile is given back, for up to a second before the error
/// is returned and in the background after that. The error says where a slot may be held until then. Where the future
/// is dropped, the queue node is deleted in the background.
///
/// # Lost connection
/// It is waited for while the time lasts, and the queue node stays where it is. If the session expires, the servers
/// remove the queue node: the wait goes on at the end of the queue, with the time that remains.
///
/// # Source
/// The semaphore and the lock of kazoo; lost replies after Curator's protected creates.
pub async fn acquire(client: &Client, claim: Claim, budget: &Budget, positions: Option<Positions>) -> Result<Acquired> {
    contend(client, claim, budget, positions, false).await
}

/// Takes a slot at once, whatever the limit is and whoever waits.
///
/// It makes a queue node all the same: a transaction that a server carries out late finds that queue node gone, and
/// takes no slot.
///
/// # Errors
/// As [`acquire`], without [`Error::LimitMismatch`]; [`Error::Unreachable`] also where the servers took too long.
///
/// # Cancellation
/// As [`acquire`].
///
/// # Lost connection
/// As [`acquire`].
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
    let client = &client.watching(watched_bytes(&claim.pool));
    let claim = Arc::new(claim);
    let kept: Mutex<Option<Claimant>> = Mutex::new(None);
    let waits = AtomicBool::new(false);
    let attempt = |session: Session| {
        let (kept, claim, positions, waits) = (&kept, &claim, &positions, &waits);
        async move {
            let mut kept = kept.lock().await;
            let claimant = match kept.take() {
                Some(claimant) if claimant.is_in(&session) => kept.insert(claimant),
                before => {
                    let progress = before.map(|claimant| claimant.progress()).unwrap_or_default();
                    kept.insert(Claimant::new(session, claim.clone(), progress, positions.clone(), force))
                }
            };
            claimant.contend(budget.timeout(), waits).await
        }
    };
    let end = client.attempts(budget, &claim.pool, Outage::OutlastedFrom(&waits), attempt).await;
    if waits.load(Ordering::Relaxed) {
        let (pool, seconds) = (&claim.pool, budget.elapsed().as_secs_f64());
        match &end {
            Ok(Ok(Outcome::Taken(_))) => log::info!("has a slot of {pool} after {seconds:.1} s"),
            _ => log::info!("waits no more for a slot of {pool}, after {seconds:.1} s"),
        }
    }
    let Some(claimant) = kept.into_inner() else {
        return match end {
            Ok(Err(error)) => Err(error),
            Err(Cut::Cancelled) => Err(client.cancelled(budget, &claim.pool, UNTAKEN)),
            Ok(Ok(_)) | Err(Cut::TimedOut) => Err(client.unreachable(budget.elapsed())),
        };
    };
    if let Ok(Ok(Outcome::Taken(czxid))) = end {
        let taken = claimant.hold(czxid);
        // The slot is held, whatever becomes of the two requests that follow.
        if force && claim.terms == Terms::Shared {
            let _ = tokio::time::timeout(GRACE, lease::leave_one(claimant.session(), &claim)).await;
        }
        let is_unreadable = czxid.is_none() && claimant.needs_token();
        let _ = withdraw(client, claimant).await;
        if is_unreadable {
            Box::pin(give_back_unreadable(client, &taken)).await?;
        }
        return Ok(Acquired::Taken(taken));
    }
    Box::pin(settle(client, claimant, budget, &claim.pool, end)).await
}

/// Gives a lease back whose fencing token the caller cannot know, because the ACL that he has given it lets him not read
/// it. Nothing is wrong where the lease is gone already: then the hold hears of that.
async fn give_back_unreadable(client: &Client, taken: &Hold) -> Result<()> {
    let short = Budget::answer(Timeout::For(GRACE), GRACE, Cancel::default());
    match release(client, taken, &short).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::NoAuth { action: "read", path: taken.path(), user: client.settings().identity.user() }),
        Err(_) => Err(client.connection_lost(&taken.pool, taken.of.unresolved())),
    }
}

/// Bytes of what a claimant watches at one time: its own queue node, and the one before it or, as the first, the pool and
/// its children.
fn watched_bytes(pool: &str) -> usize {
    let node = pool.len() + queue::names::NODE_SUFFIX;
    node + node.max(2 * pool.len())
}

/// The answer for a caller whose wait has ended otherwise than with a lease: withdraws the claimant first, and gives a
/// lease back that nobody wants any more.
async fn settle(
    client: &Client,
    claimant: Claimant,
    budget: &Budget,
    pool: &str,
    end: std::result::Result<Result<Outcome>, Cut>,
) -> Result<Acquired> {
    let (unsure, is_connected) = (claimant.progress().is_unsure(), claimant.session().is_connected());
    let (hold, needs_token) = (claimant.hold(None), claimant.needs_token());
    let withdrawal = withdraw(client, claimant).await;
    let unresolved = || Err(client.connection_lost(pool, Of::Pool.unresolved()));
    let was_refused = matches!(end, Ok(Err(_)));
    match (end, withdrawal) {
        (Ok(Ok(Outcome::Full)) | Err(Cut::TimedOut), Some(Ok(Withdrawal::Lease(czxid))))
            if czxid.is_some() || !needs_token =>
        {
            Ok(Acquired::Taken(Hold { czxid, ..hold }))
        }
        (Ok(Ok(Outcome::Already)), _) => Ok(Acquired::Already),
        // The lease was taken, and the caller has given up, or may not read it and so has no fencing token.
        (end, Some(Ok(Withdrawal::Lease(czxid)))) => {
            let lease = Hold { czxid, ..hold };
            let short = Budget::answer(Timeout::For(GRACE), GRACE, Cancel::default());
            match (release(client, &lease, &short).await, end) {
                (Ok(_), Ok(Err(error))) if !matches!(error, Error::Cancelled { .. }) => Err(error),
                (Ok(_), Ok(Ok(_)) | Err(Cut::TimedOut)) => Ok(Acquired::No),
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

/// Gives a lease back that was taken for a caller who was interrupted `by` something at that moment: the error that the
/// caller gets in its place.
///
/// # Cancellation
/// It takes a second at most. A lease that could not be given back by then is given back in the background, and the
/// error is [`Error::ConnectionLost`].
pub async fn undo(client: &Client, taken: &Hold, by: &'static str) -> Error {
    let short = Budget::answer(Timeout::For(GRACE), GRACE, Cancel::default());
    match release(client, taken, &short).await {
        Ok(_) => {
            let consequence = taken.of.undone();
            Error::Cancelled { path: taken.pool.clone(), by, consequence }
        }
        Err(_) => client.connection_lost(&taken.pool, taken.of.unresolved()),
    }
}
