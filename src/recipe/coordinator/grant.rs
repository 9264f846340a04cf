//! Grants that somebody else decides: an operator, or a program with a policy of its own; and changing a policy.

use std::collections::BTreeSet;

use zookeeper_client as zk;

use super::change::{effects, repeat, Changes, Effects, Step};
use super::decide::{self, Plan};
use super::document::check_decision;
use super::lock::Lock;
use super::policy::Policy;
use super::snapshot::{no_request, Snapshot};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::Budget;

const UNKNOWN: &str = "the lock may have been granted, or not; ask queue";

/// Grants a lock to a unit that has asked for it, whatever the policy says: an operator's decision. `None`: it was
/// granted already.
///
/// # Errors
/// [`Error::Argument`]: the unit has no request. Those of [`super::settle()`].
///
/// # Cancellation
/// The error says whether the lock may have been granted.
///
/// # Lost connection
/// The lock is read again: a grant of the request that is there by then, with this author and reason, is this one.
pub async fn grant(
    client: &Client,
    lock: &Lock,
    unit: &str,
    by: &str,
    reason: Option<&str>,
    budget: &Budget,
) -> Result<Option<Effects>> {
    check_decision(by, reason)?;
    let path = lock.request(unit)?;
    let unacknowledged = Unacknowledged::new(UNKNOWN);
    let changes = Changes::default();
    let attempt = |session: Session| {
        let (unacknowledged, changes) = (&unacknowledged, &changes);
        async move {
            let step = Step { session: &session, lock, unacknowledged, changes, by };
            repeat(|| async {
                let snapshot = step.read().await?;
                let Some(own) = snapshot.request(unit) else { return Err(Failure::Final(no_request(lock, unit))) };
                if snapshot.is_granted(own) {
                    return Ok(Some(()));
                }
                let is_written = grant_all(&step, &snapshot, &BTreeSet::from([unit]), reason).await?;
                Ok(is_written.then_some(()))
            })
            .await
        }
    };
    client.write(budget, &path, &unacknowledged, attempt).await?;
    let effects = changes.effects();
    Ok((!effects.granted.is_empty()).then_some(effects))
}

/// Grants a lock to units, if its grants are still of this version, and the policy is the `custom` one of this name: the
/// decision of a program. `None`: somebody was faster, and the program has to decide anew.
///
/// # Errors
/// As [`super::settle()`]; [`Error::PolicyMismatch`].
///
/// # Cancellation
/// The error says whether the lock may have been granted.
///
/// # Lost connection
/// The lock is read again. If the grants are of another version by then the program decides anew, and finds what it has
/// granted.
pub async fn grant_if(
    client: &Client,
    lock: &Lock,
    custom: &str,
    version: i32,
    units: &BTreeSet<String>,
    by: &str,
    budget: &Budget,
) -> Result<Option<Effects>> {
    check_decision(by, None)?;
    let unacknowledged = Unacknowledged::new(UNKNOWN);
    let changes = Changes::default();
    let attempt = |session: Session| {
        let (unacknowledged, changes) = (&unacknowledged, &changes);
        async move {
            let step = Step { session: &session, lock, unacknowledged, changes, by };
            let snapshot = step.read().await?;
            match snapshot.readable_policy()? {
                Some(policy) if policy.custom.as_deref() == Some(custom) => {}
                stored => {
                    let stored = stored.map_or_else(|| "none".to_owned(), ToString::to_string);
                    let (path, wanted, remains) = (lock.requests.clone(), format!("custom {custom}"), String::new());
                    return Err(Failure::Final(Error::PolicyMismatch { path, stored, wanted, remains }));
                }
            }
            if snapshot.version != Some(version) {
                return Ok(false);
            }
            grant_all(&step, &snapshot, &units.iter().map(String::as_str).collect(), None).await
        }
    };
    let is_written = client.write(budget, &lock.requests, &unacknowledged, attempt).await?;
    Ok(is_written.then(|| changes.effects()))
}

/// Grants to units, whatever the policy says. Those without a request are left out, and so are the last of more than one
/// transaction carries. `false`: somebody was faster.
async fn grant_all(
    step: &Step<'_>,
    snapshot: &Snapshot,
    units: &BTreeSet<&str>,
    reason: Option<&str>,
) -> Attempt<bool> {
    let plan = decide::decide(&Policy::default(), &snapshot.requests, &snapshot.grants, step.by, 0, false);
    let mut plan = Plan { granted: Vec::new(), ..plan };
    for (index, request) in snapshot.requests.iter().enumerate() {
        if units.contains(request.unit.as_str()) && !plan.grants.0.contains_key(&request.unit) {
            plan.granted.push(index);
            plan.grants.0.insert(request.unit.clone(), decide::grant(request, step.by, reason));
        }
    }
    plan.fit(&snapshot.requests, step.lock.requests.len() + 1);
    if plan.is_cut && plan.granted.is_empty() {
        let reason = "the grants of a lock are one document, which has no room for another".to_owned();
        return Err(Failure::Final(Error::Server { action: "write", path: step.lock.grants.clone(), reason }));
    }
    let nobody = BTreeSet::new();
    let effects = effects(snapshot, &snapshot.requests, &plan, &nobody);
    Ok(step.write(snapshot, &snapshot.requests, &plan, &nobody, effects).await?.is_some())
}

/// Changes the policy of a lock: the policy before, in words, if there was such a lock. Nobody's grant is taken away; the next
/// decision goes by the new policy, and no decision that is made by the old one is written after this.
///
/// # Errors
/// As [`super::settle()`].
///
/// # Cancellation
/// The error says whether the policy may have been changed.
///
/// # Lost connection
/// It is written again, which does no harm.
pub async fn set_policy(client: &Client, lock: &Lock, policy: &Policy, budget: &Budget) -> Result<Option<String>> {
    let unacknowledged = Unacknowledged::new("the policy may have been changed, or not; ask queue");
    let (changes, before) = (Changes::default(), std::sync::OnceLock::new());
    let data = policy.to_json().to_string().into_bytes();
    let attempt = |session: Session| {
        let (unacknowledged, changes, before, data) = (&unacknowledged, &changes, &before, &data);
        async move {
            let step = Step { session: &session, lock, unacknowledged, changes, by: "" };
            repeat(|| async {
                let snapshot = step.read().await?;
                let Some((stored, version)) = snapshot.policy else { return Ok(Some(())) };
                let _ = before.set(stored.as_ref().map_or_else(|_| "unreadable".to_owned(), ToString::to_string));
                if stored.as_ref() == Ok(policy) {
                    return Ok(Some(()));
                }
                match session.writes(unacknowledged).set_data(&lock.requests, data, Some(version)).await {
                    Ok(_) => Ok(Some(())),
                    Err(zk::Error::BadVersion | zk::Error::NoNode) => Ok(None),
                    Err(error) => Err(session.failure(&error, "write", &lock.requests)),
                }
            })
            .await
        }
    };
    client.write(budget, &lock.requests, &unacknowledged, attempt).await?;
    Ok(before.into_inner())
}
