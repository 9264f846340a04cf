//! Giving a lock back, or a request up: by its unit, or by an operator.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::change::{advance, repeat, Changes, Effects, Step};
use super::document::check_decision;
use super::lock::Lock;
use super::window;
use crate::client::Client;
use crate::error::Result;
use crate::session::{Session, Unacknowledged};
use crate::wait::Budget;

/// What was given back.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Released {
    /// Whether there was a request.
    pub requested: bool,
    /// Whether it was granted.
    pub granted: bool,
    /// The czxid of the request.
    pub request: Option<i64>,
    /// When it was made, by the servers' clock: UTC, in the form of RFC 3339.
    pub since: Option<String>,
    /// When it was granted, as `since`.
    pub granted_since: Option<String>,
    /// What the decision has changed: who is next.
    pub effects: Effects,
}

/// Removes a unit's request, granted or not, and grants to the next, in one transaction; to nobody where the policy cannot
/// be read. `request`: only the one of that
/// czxid. `by`: in whose name.
///
/// # Errors
/// As [`super::settle()`].
///
/// # Cancellation
/// The error says whether the request may have been removed.
///
/// # Lost connection
/// The lock is read again: a request that is gone by then was removed. A request that the unit has made since is left
/// alone.
///
/// # Source
/// The release at the end of a hook of `charmhelpers.coordinator`.
pub async fn release(
    client: &Client,
    lock: &Lock,
    unit: &str,
    request: Option<i64>,
    by: &str,
    budget: &Budget,
) -> Result<Released> {
    check_decision(by, None)?;
    let path = lock.request(unit)?;
    let unacknowledged = Unacknowledged::new("the lock may have been given back, or not; ask queue");
    let changes = Changes::default();
    let seen: Mutex<Option<Released>> = Mutex::default();
    let attempt = |session: Session| {
        let (unacknowledged, changes, seen) = (&unacknowledged, &changes, &seen);
        async move {
            let step = Step { session: &session, lock, unacknowledged, changes, by };
            repeat(|| async {
                let snapshot = step.read().await?;
                let last = || seen.lock().unwrap_or_else(PoisonError::into_inner);
                let wanted = last().as_ref().and_then(|released| released.request).or(request);
                let own = snapshot.request(unit).filter(|own| wanted.is_none_or(|czxid| own.czxid == czxid));
                let mut leaving = BTreeSet::new();
                if let Some(own) = own {
                    leaving.insert(own.czxid);
                    let grant = snapshot.grants.0.get(unit).filter(|_| snapshot.is_granted(own));
                    *last() = Some(Released {
                        requested: true,
                        granted: grant.is_some(),
                        request: Some(own.czxid),
                        since: Some(window::rfc3339(own.since)),
                        granted_since: grant.and_then(|grant| grant.granted).map(window::rfc3339),
                        effects: Effects::default(),
                    });
                }
                if leaving.is_empty() && snapshot.readable_policy().is_err() {
                    return Ok(Some(snapshot));
                }
                advance(&step, snapshot, &leaving, &BTreeSet::new()).await
            })
            .await
        }
    };
    client.write(budget, &path, &unacknowledged, attempt).await?;
    let released = seen.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_default();
    Ok(Released { effects: changes.effects(), ..released })
}
