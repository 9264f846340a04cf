//! Filing a request, and what became of it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use super::change::{advance, repeat, Changes, Effects, Step};
use super::decide::decide;
use super::document::{Asked, Grant, Request};
use super::lock::Lock;
use super::names;
use super::policy::Policy;
use super::snapshot::{self, Snapshot};
use super::status::own_time;
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
    /// The policy of the lock, in words, where it is another than that of the caller, who was granted the lock by it.
    pub other_policy: Option<String>,
    /// What the decision has changed.
    pub effects: Effects,
}

/// Files a unit's request for a lock, unless there is one already, and decides. Nobody waits.
///
/// A request that expires if its unit is not seen is written again, with the data that it has: that is how it is seen.
///
/// A request that is there under another policy, because somebody has changed that of the lock, is an error while it
/// waits. Once it is granted it is answered as ever: who acts under it has to give it back.
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
    let (changes, done) = (Changes::default(), Done::default());
    let attempt = |session: Session| {
        let (unacknowledged, changes, done, data) = (&unacknowledged, &changes, &done, &data);
        async move {
            let step = Step { session: &session, lock, unacknowledged, changes, by: &ask.unit };
            let once = || async {
                let snapshot = step.read().await?;
                file(&step, ask, data, snapshot, done).await
            };
            repeat(once).await
        }
    };
    let snapshot = client.write(budget, &path, &unacknowledged, attempt).await?;
    let answer = answer(&snapshot, ask, done.filed.into_inner(), changes.effects());
    answer.ok_or_else(|| Error::Internal(format!("{path} is not there although it was filed")))
}

/// What one call has done so far.
#[derive(Debug, Default)]
struct Done {
    /// A create of the request was sent, and no server has refused it.
    sent: AtomicBool,
    /// The request is this call's.
    filed: AtomicBool,
    /// It was written again, or is new.
    seen: AtomicBool,
}

impl Done {
    /// Awaits the create of the request. One that is cut short may be carried out.
    async fn filing(&self, create: impl Future<Output = Attempt<bool>>) -> Attempt<Option<Snapshot>> {
        let before = self.sent.swap(true, Ordering::Relaxed);
        let is_filed = create.await?;
        self.sent.store(before, Ordering::Relaxed);
        self.filed.fetch_or(is_filed, Ordering::Relaxed);
        Ok(None)
    }

    /// Whether the request that is there is this call's.
    fn has_filed(&self, own: &Request, data: &[u8]) -> bool {
        let is_filed = self.sent.load(Ordering::Relaxed) && own.data == data;
        self.filed.fetch_or(is_filed, Ordering::Relaxed) || is_filed
    }
}

/// One look, and one step: the snapshot once there is nothing more to do.
async fn file(step: &Step<'_>, ask: &Ask, data: &[u8], snapshot: Snapshot, done: &Done) -> Attempt<Option<Snapshot>> {
    let Some(stored) = snapshot.readable_policy()? else {
        let policy = ask.policy.to_json().to_string();
        return done.filing(step.begin(&snapshot, policy.as_bytes(), &ask.unit, data)).await;
    };
    let own = snapshot.request(&ask.unit);
    check_policy(step.lock, &snapshot, stored, ask, own)?;
    let Some(own) = own else {
        let path = step.lock.request(&ask.unit).map_err(Failure::Final)?;
        let filing = step.with_request(&snapshot, |transaction, options| transaction.create(&path, data, options));
        return done.filing(filing).await;
    };
    if !done.has_filed(own, data) && own.asked.expires.is_some() && !done.seen.load(Ordering::Relaxed) {
        done.seen.fetch_or(step.see(&snapshot, own).await?, Ordering::Relaxed);
        return Ok(None);
    }
    let nobody = BTreeSet::new();
    advance(step, snapshot, &nobody, &nobody).await
}

/// Refuses who asks by another policy than the lock's, unless it is granted already.
fn check_policy(lock: &Lock, snapshot: &Snapshot, stored: &Policy, ask: &Ask, own: Option<&Request>) -> Attempt<()> {
    if *stored == ask.policy || own.is_some_and(|own| snapshot.is_granted(own)) {
        return Ok(());
    }
    let (path, stored, wanted) = (lock.requests.clone(), stored.to_string(), ask.policy.to_string());
    let remains = own.map_or_else(String::new, |own| {
        format!("; the request of {}, made at {}, stays in the queue", own.unit, window::rfc3339(own.since))
    });
    Err(Failure::Final(Error::PolicyMismatch { path, stored, wanted, remains }))
}

/// What a unit's request would come to if it were made now, or what it has come to. Nothing is changed: a window is judged
/// by this host's clock.
///
/// # Errors
/// [`Error::PolicyMismatch`]; [`Error::Argument`] for a label that is missing; those of [`super::queue()`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The lock is read again while the time in `budget` lasts.
pub async fn foretell(client: &Client, lock: &Lock, ask: &Ask, budget: &Budget) -> Result<Acquired> {
    ask.asked.check()?;
    ask.policy.check_labels(&ask.asked.labels)?;
    let (path, znode) = (lock.request(&ask.unit)?, names::encode("unit", &ask.unit)?);
    let attempt = |session: Session| {
        let znode = znode.clone();
        async move {
            let mut snapshot = snapshot::read(&session, lock).await?;
            let policy = snapshot.readable_policy()?.unwrap_or(&ask.policy).clone();
            check_policy(lock, &snapshot, &policy, ask, snapshot.request(&ask.unit))?;
            let is_new = snapshot.request(&ask.unit).is_none();
            if is_new {
                let (since, asked, data) = (own_time(), ask.asked.clone(), ask.asked.encode());
                let (unit, czxid) = (ask.unit.clone(), i64::MAX);
                snapshot.requests.push(Request { unit, znode, czxid, since, seen: since, asked, data, version: 0 });
            }
            let members = snapshot::members(&session, lock, &policy).await?;
            let is_open = policy.is_open(window::timestamp(own_time()));
            snapshot.grants = decide(&policy, &snapshot.requests, &snapshot.grants, &ask.unit, members, is_open).grants;
            answer(&snapshot, ask, is_new, Effects::default())
                .ok_or_else(|| Failure::Final(Error::Internal("a request that was read is not there".to_owned())))
        }
    };
    client.answer(budget, &path, attempt).await
}

/// What became of a unit's request.
fn answer(snapshot: &Snapshot, ask: &Ask, is_new: bool, effects: Effects) -> Option<Acquired> {
    let unit = &ask.unit;
    let own = snapshot.request(unit)?;
    let stored = snapshot.readable_policy().ok().flatten();
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
        other_policy: stored.filter(|stored| **stored != ask.policy).map(ToString::to_string),
        effects,
    })
}
