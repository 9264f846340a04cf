//! Filing a request, and what became of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::change::{advance, repeat, Changes, Effects, Step};
use super::document::{Asked, Grant};
use super::lock::Lock;
use super::policy::Policy;
use super::snapshot::Snapshot;
use super::window;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::Budget;
use serde::Serialize;

/// Who asks for a lock, and on what terms.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who.
    pub unit: String,
    /// What the lock's policy is to be. The first who asks stores it; all others must name the same.
    pub policy: Policy,
    /// What is stored with a new request. One that is there already stays as it is.
    pub asked: Asked,
}

/// A request, and whether it is granted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Acquired {
    /// Whether the lock is the unit's now.
    pub granted: bool,
    /// The czxid of the request.
    pub request: i64,
    /// When it was made, by the servers' clock: UTC, in the form of RFC 3339.
    pub since: String,
    /// The same in seconds since 1970.
    pub timestamp: f64,
    /// The zxid of the grant: later ones are greater. `None` where it is not granted.
    pub token: Option<i64>,
    /// When it was granted, as `since`.
    pub granted_since: Option<String>,
    /// The position in the queue: 1 is next. `None` where it is granted.
    pub position: Option<usize>,
    /// How many wait.
    pub waiting: usize,
    /// Who is granted the lock, and since when; those first who are longest.
    pub holders: Vec<(String, Option<String>)>,
    /// Whether this call has filed the request.
    pub is_new: bool,
    /// What the decision has changed.
    pub effects: Effects,
}

/// Files a unit's request for a lock, unless there is one already, and decides. Nobody waits.
///
/// A request that expires if its unit is not seen is written again, with the data that it has: that is how it is seen.
///
/// # Errors
/// [`Error::PolicyMismatch`]; [`Error::Argument`] for a label that is missing; [`Error::NoAuth`], [`Error::AuthFailed`],
/// [`Error::Unreachable`], [`Error::ConnectionLost`], [`Error::Cancelled`], [`Error::Server`].
///
/// # Cancellation
/// The error says whether the request may have been filed.
///
/// # Lost connection
/// It is looked for the request, which has the unit's name, and filed if it is not there.
///
/// # Source
/// `acquire` of `charmhelpers.coordinator`.
pub async fn acquire(client: &Client, lock: &Lock, ask: &Ask, budget: &Budget) -> Result<Acquired> {
    ask.asked.check()?;
    ask.policy.check_labels(&ask.asked.labels)?;
    let data = ask.asked.encode();
    let path = lock.request(&ask.unit)?;
    client.check_length(path.len() + data.len(), data.len(), budget, &path).await?;
    let unacknowledged = Unacknowledged::new("the request may have been filed, or not; ask queue");
    let (changes, filed, seen) = (Changes::default(), AtomicBool::new(false), AtomicBool::new(false));
    let attempt = |session: Session| {
        let (unacknowledged, changes, done, path, data) = (&unacknowledged, &changes, (&filed, &seen), &path, &data);
        async move {
            let step = Step { session: &session, lock, unacknowledged, changes, by: &ask.unit };
            let once = || async {
                let snapshot = step.read().await?;
                file(&step, ask, path, data, snapshot, done).await
            };
            repeat(once).await
        }
    };
    let snapshot = client.write(budget, &path, &unacknowledged, attempt).await?;
    let is_new = filed.into_inner();
    let answer = answer(&snapshot, &ask.unit, is_new, changes.effects());
    answer.ok_or_else(|| Error::Internal(format!("{path} is not there although it was filed")))
}

/// One look, and one step: the snapshot once there is nothing more to do.
async fn file(
    step: &Step<'_>,
    ask: &Ask,
    path: &str,
    data: &[u8],
    snapshot: Snapshot,
    (filed, seen): (&AtomicBool, &AtomicBool),
) -> Attempt<Option<Snapshot>> {
    let Some((stored, _)) = &snapshot.policy else {
        let begun = step.begin(ask.policy.to_json().to_string().as_bytes(), &ask.unit, data).await?;
        filed.fetch_or(begun, Ordering::Relaxed);
        return Ok(None);
    };
    if *stored != ask.policy {
        let (stored, wanted) = (stored.to_string(), ask.policy.to_string());
        return Err(Failure::Final(Error::PolicyMismatch { path: step.lock.requests.clone(), stored, wanted }));
    }
    let Some(own) = snapshot.request(&ask.unit) else {
        let is_filed =
            step.with_request(&snapshot, |transaction, options| transaction.create(path, data, options)).await?;
        filed.fetch_or(is_filed, Ordering::Relaxed);
        return Ok(None);
    };
    if own.asked.expires.is_some() && !filed.load(Ordering::Relaxed) && !seen.load(Ordering::Relaxed) {
        let is_seen =
            step.with_request(&snapshot, |transaction, _| transaction.set_data(path, &own.data, None)).await?;
        seen.fetch_or(is_seen, Ordering::Relaxed);
        return Ok(None);
    }
    let nobody = BTreeSet::new();
    advance(step, snapshot, &nobody, &nobody).await
}

/// What became of a unit's request.
fn answer(snapshot: &Snapshot, unit: &str, is_new: bool, effects: Effects) -> Option<Acquired> {
    let own = snapshot.request(unit)?;
    let grant = |unit: &str| -> Option<&Grant> { snapshot.grants.0.get(unit) };
    let (held, waiting): (Vec<_>, Vec<_>) = snapshot.requests.iter().partition(|it| snapshot.is_granted(it));
    let mut holders: Vec<_> = held.iter().filter_map(|it| Some((grant(&it.unit)?.granted, it.unit.clone()))).collect();
    holders.sort();
    let holders = holders.into_iter().map(|(granted, unit)| (unit, granted.map(window::rfc3339)));
    let own_grant = grant(unit).filter(|_| snapshot.is_granted(own));
    Some(Acquired {
        granted: own_grant.is_some(),
        request: own.czxid,
        since: window::rfc3339(own.since),
        timestamp: window::seconds(own.since),
        token: own_grant.and_then(|grant| grant.token),
        granted_since: own_grant.and_then(|grant| grant.granted).map(window::rfc3339),
        position: waiting.iter().position(|it| it.czxid == own.czxid).map(|index| index + 1),
        waiting: waiting.len(),
        holders: holders.collect(),
        is_new,
        effects,
    })
}
