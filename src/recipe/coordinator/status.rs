//! Who is granted a lock since when, and who waits for it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use super::decide::hopeless;
use super::document::Request;
use super::lock::{Home, Lock};
use super::names;
use super::policy::Policy;
use super::snapshot::{self, Snapshot};
use super::window::{self, rfc3339, timestamp};
use crate::children;
use crate::client::Client;
use crate::error::Result;
use crate::session::Session;
use crate::wait::Budget;

/// A lock and its queue at one moment. It has what [`crate::recipe::semaphore::Status`] has where it is the same.
#[derive(Clone, Debug, Serialize)]
pub struct Queue {
    /// The lock.
    pub lock: String,
    /// The znode with the policy, below which the requests are.
    pub path: String,
    /// The policy as it is stored; `None` where nobody has asked for the lock yet.
    pub policy: Option<Value>,
    /// The policy in words.
    pub rule: Option<String>,
    /// The most grants at a time, where the policy says so.
    pub max: Option<usize>,
    /// When it may be granted next, by this host's clock, where it may not now: UTC, in the form of RFC 3339.
    pub opens: Option<String>,
    /// The version of the grants. A program that decides by itself gives it back with its decision.
    pub version: Option<i32>,
    /// Who is granted it, those first who are longest.
    pub holders: Vec<Holder>,
    /// Who waits, in the order of the queue.
    pub waiters: Vec<Waiter>,
}

/// A request that is granted.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// Whose it is.
    pub unit: String,
    /// The czxid of the request.
    pub request: i64,
    /// When the request was made, by the servers' clock: UTC, in the form of RFC 3339.
    pub since: String,
    /// The same in seconds since 1970.
    pub timestamp: f64,
    /// When it was granted, as `since`.
    pub granted: Option<String>,
    /// Seconds since then, by this host's clock.
    pub age: f64,
    /// The zxid of the grant: later ones are greater.
    pub token: Option<i64>,
    /// In whose run, or by which operator, it was decided.
    pub by: Option<String>,
    /// Why an operator has granted it.
    pub granted_because: Option<String>,
    /// What the unit has said.
    #[serde(flatten)]
    pub stated: Stated,
}

/// A request that is not granted yet.
#[derive(Clone, Debug, Serialize)]
pub struct Waiter {
    /// Whose it is.
    pub unit: String,
    /// 1 is next.
    pub position: usize,
    /// The czxid of the request.
    pub request: i64,
    /// When the request was made, as in [`Holder`].
    pub since: String,
    /// The same in seconds since 1970.
    pub timestamp: f64,
    /// Seconds since then, by this host's clock.
    pub age: f64,
    /// Why the policy can never grant it as things are.
    pub hopeless: Option<String>,
    /// What the unit has said.
    #[serde(flatten)]
    pub stated: Stated,
}

/// What a unit has said with its request, and when it was seen last.
#[derive(Clone, Debug, Serialize)]
pub struct Stated {
    /// Why it has asked.
    pub reason: Option<String>,
    /// What the policy may count by.
    pub labels: BTreeMap<String, String>,
    /// Seconds after which it may be dropped if its unit is not seen.
    pub expires: Option<f64>,
    /// When the unit was seen last, by the servers' clock.
    pub seen: String,
    /// Seconds since then, by this host's clock.
    pub unseen: f64,
}

/// The state of a lock, in two round trips, or three where the policy counts a party. Nothing is created.
///
/// # Errors
/// [`crate::Error::NoAuth`], [`crate::Error::AuthFailed`], [`crate::Error::Unreachable`], [`crate::Error::Cancelled`],
/// [`crate::Error::Server`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The lock is read again while the time in `budget` lasts.
pub async fn queue(client: &Client, lock: &Lock, budget: &Budget) -> Result<Queue> {
    let attempt = |session: Session| async move {
        let snapshot = snapshot::read(&session, lock).await?;
        let policy = snapshot.readable_policy()?;
        let members = match policy {
            Some(policy) => snapshot::members(&session, lock, policy).await?,
            None => 0,
        };
        Ok(shown(client, lock, &snapshot, policy, members))
    };
    client.answer(budget, &lock.requests, attempt).await
}

/// What this host's clock says, in milliseconds since 1970.
pub(super) fn own_time() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    i64::try_from(now).unwrap_or(i64::MAX)
}

fn shown(client: &Client, lock: &Lock, snapshot: &Snapshot, policy: Option<&Policy>, members: usize) -> Queue {
    let now = own_time();
    let (mut holders, mut waiters) = (Vec::new(), Vec::new());
    for request in &snapshot.requests {
        let (unit, stated) = (request.unit.clone(), stated(request, now));
        let (czxid, since) = (request.czxid, rfc3339(request.since));
        match snapshot.grants.0.get(&unit).filter(|_| snapshot.is_granted(request)) {
            Some(grant) => holders.push(Holder {
                unit,
                request: czxid,
                since,
                timestamp: window::seconds(request.since),
                granted: grant.granted.map(rfc3339),
                age: since_then(now, grant.granted.unwrap_or(now)),
                token: grant.token,
                by: grant.by.clone(),
                granted_because: grant.reason.clone(),
                stated,
            }),
            None => waiters.push(Waiter {
                unit,
                position: waiters.len() + 1,
                request: czxid,
                since,
                timestamp: window::seconds(request.since),
                age: since_then(now, request.since),
                hopeless: policy.and_then(|policy| hopeless(policy, request, members)),
                stated,
            }),
        }
    }
    holders.sort_by_key(|holder| (holder.token, holder.request));
    let time = timestamp(now);
    let closed = policy.filter(|policy| !policy.is_open(time));
    Queue {
        lock: lock.name.clone(),
        path: client.settings().shown(&lock.requests),
        policy: policy.map(Policy::to_json),
        rule: policy.map(ToString::to_string),
        max: policy.and_then(|policy| policy.limit(members)),
        opens: closed.and_then(|policy| policy.next_opening(time)).map(|opens| rfc3339(opens.as_millisecond())),
        version: snapshot.version,
        holders,
        waiters,
    }
}

fn stated(request: &Request, now: i64) -> Stated {
    let asked = &request.asked;
    Stated {
        reason: asked.reason.clone(),
        labels: asked.labels.clone(),
        expires: asked.expires,
        seen: rfc3339(request.seen),
        unseen: since_then(now, request.seen),
    }
}

/// Seconds from then to now; a clock that is behind the servers' makes that zero.
fn since_then(now: i64, then: i64) -> f64 {
    window::seconds(now.saturating_sub(then).max(0))
}

/// The locks of a coordinator that anybody has asked for, in order.
///
/// # Errors
/// As [`queue`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// They are listed again while the time in `budget` lasts.
pub async fn locks(client: &Client, home: &Home, budget: &Budget) -> Result<Vec<String>> {
    let requests = &home.requests();
    let attempt = |session: Session| async move { children::list(&session, requests).await };
    let mut found: Vec<_> =
        client.answer(budget, requests, attempt).await?.iter().map(|name| names::decode(name)).collect();
    found.sort();
    Ok(found)
}
