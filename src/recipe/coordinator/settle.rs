//! Deciding what is granted now, by whoever comes along.

use std::collections::BTreeSet;

use super::change::{advance, repeat, Changes, Effects, Step};
use super::lock::Lock;
use crate::client::Client;
use crate::error::Result;
use crate::session::{Session, Unacknowledged};
use crate::wait::Budget;

/// Decides what is granted now, until there is nothing more to decide. `by`: in whose name. `drops`: requests that have
/// expired are dropped, and are in the answer. A lock that nobody has asked for has nothing to decide.
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
pub async fn settle(client: &Client, lock: &Lock, by: &str, drops: bool, budget: &Budget) -> Result<Effects> {
    let unacknowledged = Unacknowledged::new("somebody may have been granted the lock, or not; ask queue");
    let changes = Changes::default();
    let attempt = |session: Session| {
        let (unacknowledged, changes) = (&unacknowledged, &changes);
        async move {
            let step = Step { session: &session, lock, unacknowledged, changes, by };
            repeat(|| async {
                let snapshot = step.read().await?;
                let dropped = if drops { step.expired(&snapshot).await? } else { BTreeSet::new() };
                advance(&step, snapshot, &dropped, &dropped).await
            })
            .await
        }
    };
    client.write(budget, &lock.requests, &unacknowledged, attempt).await?;
    Ok(changes.effects())
}
