//! Learning that the lease of a hold is gone.

use std::time::{Duration, Instant};

use zookeeper_client as zk;

use super::hold::Hold;
use super::release::give_back;
use crate::client::{Client, Outage};
use crate::error::Result;
use crate::session::{Attempt, Failure, Session, PAUSE, UNCHANGED};
use crate::wait::deadline::Deadline;
use crate::wait::Budget;

/// Waits until a hold's lease is gone, by a watch on it or with its session.
///
/// # Errors
/// [`crate::Error::Cancelled`], also where this process has unlocked the lease itself; [`crate::Error::NoAuth`],
/// [`crate::Error::Server`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// It is waited for as long as the session may live. When the servers have heard nothing of the session for its
/// timeout, an ephemeral lease counts as gone: before the servers give the slot to another.
///
/// # Source
/// The `Done` of a session in etcd's `concurrency`.
pub async fn lost(client: &Client, hold: &Hold, budget: &Budget) -> Result<()> {
    lost_early(client, hold, Duration::ZERO, budget).await.map(drop)
}

/// As [`lost`], for a caller who needs some time to stop what it does: an ephemeral lease counts as lost so much `early`
/// before the servers may give the slot to another, or after half of the session timeout, whichever is later. Where the lease
/// is there still, the caller gives it back once it has stopped. The answer is until when the servers keep it for sure; `None`:
/// it is gone.
///
/// # Errors
/// As [`lost`].
///
/// # Cancellation
/// As [`lost`].
///
/// # Lost connection
/// As [`lost`].
pub async fn lost_early(client: &Client, hold: &Hold, early: Duration, budget: &Budget) -> Result<Option<Instant>> {
    let outcome = gone(client, hold, early, budget).await;
    if client.has_removed(&hold.path()) && outcome.is_ok() {
        return Err(client.cancelled(budget, &hold.pool, UNCHANGED));
    }
    if outcome.is_ok() {
        log::warn!("{} is lost: its session is over, or somebody has deleted it", hold.path());
    }
    outcome
}

async fn gone(client: &Client, hold: &Hold, early: Duration, budget: &Budget) -> Result<Option<Instant>> {
    let (pool, lease) = (&hold.pool, &hold.path());
    // The silence goes on from one attempt to the next.
    let since = Instant::now();
    if hold.ephemeral {
        let watching = async {
            while let Some(session) = hold.own_session(client, budget).await? {
                let (closing, asking) = (session.closing(), session.clone());
                tokio::select! {
                    () = closing.cancelled() => return Ok(None),
                    until = asking.silent_for_too_long(lease, since, early) => {
                        // Should the servers hear of the session in time after all, the lease would stay for nobody. A
                        // caller who is told early still acts under it, and gives it back when that has ended.
                        if early.is_zero() {
                            give_back(client, hold.clone());
                        }
                        return Ok(Some(until));
                    }
                    ended = watch(session, hold) => match ended {
                        Ok(()) | Err(Failure::Gone) => return Ok(None),
                        Err(Failure::Final(error)) => return Err(error),
                        Err(Failure::Lost) => tokio::time::sleep(PAUSE).await,
                    },
                }
            }
            Ok(None)
        };
        let outcome = budget.race(Deadline::NEVER, watching).await;
        return outcome.unwrap_or_else(|_| Err(client.cancelled(budget, pool, UNCHANGED)));
    }
    let attempt = |session: Session| async move {
        let closing = session.closing();
        tokio::select! {
            () = closing.cancelled() => Err(Failure::Gone),
            ended = watch(session, hold) => ended,
        }
    };
    let outcome = client.attempts(budget, pool, Outage::Outlasted, attempt).await;
    outcome.unwrap_or_else(|_| Err(client.cancelled(budget, pool, UNCHANGED))).map(|()| None)
}

/// Waits, in one session, until the lease is gone.
async fn watch(session: Session, hold: &Hold) -> Attempt<()> {
    let lease = &hold.path();
    loop {
        if !session.connected().await {
            return Err(Failure::Gone);
        }
        let (stat, watcher) =
            session.check_and_watch_stat(lease).await.map_err(|error| session.failure(&error, "read", lease))?;
        if !stat.is_some_and(|stat| hold.is_it(&stat)) {
            return Ok(());
        }
        if watcher.changed().await.event_type == zk::EventType::Session {
            return Err(Failure::Gone);
        }
    }
}
