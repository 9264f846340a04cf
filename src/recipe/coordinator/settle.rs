//! Deciding what is granted now, by whoever comes along.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::change::{advance, repeat, Changes, Effects, Step};
use super::document::check_decision;
use super::lock::Lock;
use crate::client::Client;
use crate::error::Result;
use crate::session::{Session, Unacknowledged};
use crate::wait::Budget;

/// Requests that one transaction drops. Those after them are dropped by the next, at once.
const MOST_DROPPED: usize = 100;

/// Decides what is granted now, until there is nothing more to decide. `by`: in whose name. `drops`: requests that have
/// expired are dropped, and are in the answer. `seen`: a unit that is there; its own request is written again, with the
/// data that it has, before it can expire. A lock that nobody has asked for has nothing to decide.
///
/// # Errors
/// [`crate::Error::NoAuth`], [`crate::Error::AuthFailed`], [`crate::Error::Unreachable`],
/// [`crate::Error::ConnectionLost`], [`crate::Error::Cancelled`], [`crate::Error::Server`].
///
/// # Cancellation
/// The error says whether somebody may have been granted the lock.
///
/// # Lost connection
/// The lock is read again, and what was granted by then is there.
///
/// # Source
/// `handle` of `charmhelpers.coordinator`.
pub async fn settle(
    client: &Client,
    lock: &Lock,
    by: &str,
    drops: bool,
    seen: Option<&str>,
    budget: &Budget,
) -> Result<Effects> {
    check_decision(by, None)?;
    let unacknowledged = Unacknowledged::new("somebody may have been granted the lock, or not; ask queue");
    let (changes, has_written) = (Changes::default(), AtomicBool::new(false));
    let attempt = |session: Session| {
        let (unacknowledged, changes, has_written) = (&unacknowledged, &changes, &has_written);
        async move {
            let step = Step { session: &session, lock, unacknowledged, changes, by };
            repeat(|| async {
                let snapshot = step.read().await?;
                snapshot.readable_policy()?;
                let own = seen.and_then(|unit| snapshot.request(unit)).filter(|own| own.asked.expires.is_some());
                if let Some(own) = own.filter(|_| !has_written.load(Ordering::Relaxed)) {
                    has_written.store(step.see(&snapshot, own).await?, Ordering::Relaxed);
                    return Ok(None);
                }
                let mut dropped = if drops { step.expired(&snapshot).await? } else { BTreeSet::new() };
                let is_more = dropped.len() > MOST_DROPPED;
                dropped = dropped.into_iter().take(MOST_DROPPED).collect();
                Ok(advance(&step, snapshot, &dropped, &dropped).await?.filter(|_| !is_more))
            })
            .await
        }
    };
    client.write(budget, &lock.requests, &unacknowledged, attempt).await?;
    Ok(changes.effects())
}
