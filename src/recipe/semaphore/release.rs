//! Giving a hold back: its own lease, and no other.

use std::time::{Duration, Instant};

use futures::future::join;
use zookeeper_client as zk;

use super::hold::Hold;
use super::lease;
use crate::client::{Client, Outage};
use crate::error::Result;
use crate::session::{Attempt, Session, Unacknowledged, PAUSE};
use crate::wait::deadline::{Deadline, Timeout};
use crate::wait::Budget;

/// The longest pause between two searches for a lease that may come late.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// For how many session timeouts a lease is searched for that may come late.
const TIMEOUTS: u32 = 3;

/// Gives a hold back: `true`; `false` when it was lost before. No other lease is deleted.
///
/// # Errors
/// [`crate::Error::Unreachable`], [`crate::Error::ConnectionLost`], [`crate::Error::Cancelled`],
/// [`crate::Error::NoAuth`].
///
/// # Cancellation
/// As for every other error: the lease is given back in the background, once there is a connection.
///
/// # Lost connection
/// It is waited for while the time in `budget` lasts, and the lease is deleted again, in another session where this one
/// is over. The servers have removed an ephemeral lease by then, and the answer is `false`; or they have not, because
/// they keep a session for longer than its client may rely on it, as after a change of the leader, and it is `true`:
/// nobody else had the slot.
///
/// # Source
/// The `Lease` of Curator's `InterProcessSemaphoreV2`, and the mutex of etcd's `concurrency`.
pub async fn release(client: &Client, hold: &Hold, budget: &Budget) -> Result<bool> {
    let released = try_release(client, hold, budget).await;
    if released.is_err() {
        give_back(client, hold.clone());
    }
    released
}

async fn try_release(client: &Client, hold: &Hold, budget: &Budget) -> Result<bool> {
    let (unacknowledged, since) = (Unacknowledged::new(hold.of.still_held()), budget.started());
    let attempt = |session: Session| {
        let unacknowledged = &unacknowledged;
        async move { Ok(delete(&session, hold, unacknowledged, since).await? || unacknowledged.is_any()) }
    };
    client.write(budget, &hold.pool, &unacknowledged, attempt).await
}

/// Deletes the lease: whether it was there, or was since then and has been cleared with what its session had left.
async fn delete(session: &Session, hold: &Hold, unacknowledged: &Unacknowledged, since: Instant) -> Attempt<bool> {
    let (lease, liveness_node) = (hold.path(), hold.liveness_node());
    let deleting = session.writes(unacknowledged).delete(&lease, None);
    let deleting_liveness_node = async {
        if hold.has_liveness_node && session.id() == hold.session {
            // The servers remove it with the session in any case.
            let _ = session.writes(&Unacknowledged::new(hold.of.still_held())).delete(&liveness_node, None).await;
        }
    };
    let (deleted, ()) = join(deleting, deleting_liveness_node).await;
    let was_there = match deleted {
        Ok(()) => true,
        Err(zk::Error::NoNode) => session.has_cleared(&lease, since),
        Err(error) => return Err(session.failure(&error, "delete", &lease)),
    };
    if hold.has_reason_node {
        lease::sweep(session, &hold.pool, [&hold.lease].into_iter()).await;
    }
    session.keep_no_more_for(&lease);
    session.keep_no_more_for(&liveness_node);
    Ok(was_there)
}

/// Gives a lease back in the background, after an error which has said that the lease may be there, or may come. The
/// task ends when the lease is deleted, when it cannot come any more, or with the process.
pub(crate) fn give_back(client: &Client, hold: Hold) {
    log::info!("{} is given back in the background, as soon as a server answers", hold.path());
    let client = client.clone();
    client.clone().in_background(|cancel| async move {
        // The outage may last for longer than an ensemble is looked for.
        let budget = Budget::waiting(Timeout::Forever, Duration::MAX, cancel);
        keep_deleting(&client, &hold, &budget).await;
    });
}

async fn keep_deleting(client: &Client, hold: &Hold, budget: &Budget) {
    let (started, mut pause) = (Instant::now(), PAUSE);
    let unacknowledged = Unacknowledged::new(hold.of.still_held());
    loop {
        // A session that is over for its client lasts for a while at the servers, and so does its ephemeral lease.
        let Ok(own) = hold.own_session(client, budget).await else { return };
        let attempt = |session: Session| {
            let unacknowledged = &unacknowledged;
            async move { delete(&session, hold, unacknowledged, started).await }
        };
        let timeout = own.as_ref().map_or(client.settings().identity.session_timeout, Session::timeout);
        // What is ephemeral and comes later ends with its session.
        let latest = if own.is_none() && hold.ephemeral { Duration::ZERO } else { timeout * TIMEOUTS };
        drop(own);
        match client.attempts(budget, &hold.pool, Outage::Outlasted, attempt).await {
            Ok(Ok(false)) if started.elapsed() < latest => {}
            _ => return,
        }
        if budget.race(Deadline::NEVER, tokio::time::sleep(pause)).await.is_err() {
            return;
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}
