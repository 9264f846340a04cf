//! Waiting for grants, by watches on a unit's own requests.

use std::collections::BTreeSet;

use futures::future::{join_all, select_all};
use serde::Serialize;
use zookeeper_client as zk;

use super::document::Grants;
use super::lock::{Home, Lock};
use super::names;
use super::window;
use crate::children::or_missing;
use crate::client::{Client, Outage};
use crate::error::Result;
use crate::record::Stored;
use crate::session::{Attempt, Failure, Session, UNCHANGED};
use crate::wait::deadline::Timeout;
use crate::wait::{Budget, Cut};

/// A grant of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// The lock.
    pub lock: String,
    /// The czxid of the request.
    pub request: i64,
    /// The zxid of the grant.
    pub token: Option<i64>,
    /// When it was granted, by the servers' clock: UTC, in the form of RFC 3339.
    pub granted: Option<String>,
    /// In whose run, or by which operator, it was decided.
    pub by: Option<String>,
    /// Why an operator has granted it.
    pub reason: Option<String>,
}

/// What a unit has asked a coordinator for, and what it was granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Own {
    /// Its grants.
    pub granted: Vec<Granted>,
    /// The locks for which it waits.
    pub waiting: Vec<String>,
}

/// Waits until a unit is granted something beyond what is `known`, by the czxids of its requests: all that it is granted
/// then, and what it waits for. When the time is up, the same as it is then; who waits for no time is answered at once.
///
/// One znode is watched for each lock of the coordinator, the unit's own request, and one for new locks. Nobody else's
/// requests wake it. A coordinator that does not exist yet is waited for.
///
/// # Errors
/// [`crate::Error::NoAuth`], [`crate::Error::Unreachable`] when the time is up before any server has answered,
/// [`crate::Error::Cancelled`], [`crate::Error::Server`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// It is waited for while the time in `budget` lasts.
pub async fn granted(client: &Client, home: &Home, unit: &str, known: &BTreeSet<i64>, budget: &Budget) -> Result<Own> {
    let own = names::encode("unit", unit)?;
    let requests = &home.requests();
    let client = &client.watching(4 * (requests.len() + own.len()));
    let seen = std::sync::Mutex::new(None);
    let attempt = |session: Session| {
        let (own, seen) = (&own, &seen);
        async move {
            watch(&session, home, unit, own, seen, |state| {
                budget.timeout() == Timeout::Once
                    || state.granted.iter().any(|granted| !known.contains(&granted.request))
            })
            .await
        }
    };
    let end = client.attempts(budget, requests, Outage::Outlasted, attempt).await;
    let seen = seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match end {
        Ok(answer) => answer,
        Err(Cut::TimedOut) => seen.ok_or_else(|| client.unreachable(budget.elapsed())),
        Err(Cut::Cancelled) => Err(client.cancelled(budget, requests, UNCHANGED)),
    }
}

async fn watch(
    session: &Session,
    home: &Home,
    unit: &str,
    own: &str,
    seen: &std::sync::Mutex<Option<Own>>,
    is_enough: impl Fn(&Own) -> bool,
) -> Attempt<Own> {
    let requests = &home.requests();
    loop {
        let mut watchers = Vec::new();
        let listed = or_missing(session.list_and_watch_children(requests).await);
        let names = match listed.map_err(|error| session.failure(&error, "read", requests))? {
            Some((names, watcher)) => {
                watchers.push(watcher);
                names
            }
            None => {
                let asked = session.check_and_watch_stat(requests).await;
                let (stat, watcher) = asked.map_err(|error| session.failure(&error, "read", requests))?;
                if stat.is_some() {
                    continue;
                }
                watchers.push(watcher);
                Vec::new()
            }
        };
        let paths: Vec<_> = names.iter().map(|name| format!("{requests}/{name}/{own}")).collect();
        let stats = join_all(paths.iter().map(|path| session.check_and_watch_stat(path))).await;
        let mut asked = Vec::new();
        for ((stat, name), path) in stats.into_iter().zip(&names).zip(&paths) {
            let (stat, watcher) = stat.map_err(|error| session.failure(&error, "read", path))?;
            watchers.push(watcher);
            if let Some(stat) = stat {
                let lock = home.lock(&names::decode(name)).map_err(Failure::Final)?;
                asked.push((lock, stat.czxid));
            }
        }
        let found = join_all(asked.iter().map(|(lock, czxid)| granted_in(session, lock, unit, *czxid))).await;
        let mut state = Own::default();
        for (found, (lock, _)) in found.into_iter().zip(&asked) {
            match found? {
                Some(granted) => state.granted.push(granted),
                None => state.waiting.push(lock.name.clone()),
            }
        }
        *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(state.clone());
        if is_enough(&state) {
            return Ok(state);
        }
        let events = watchers.into_iter().map(|watcher| Box::pin(watcher.changed()));
        if select_all(events).await.0.event_type == zk::EventType::Session {
            return Err(Failure::Gone);
        }
    }
}

/// The grant of a unit's request in a lock, if there is one.
async fn granted_in(session: &Session, lock: &Lock, unit: &str, czxid: i64) -> Attempt<Option<Granted>> {
    let read = or_missing(session.get_data(&lock.grants).await);
    let Some((data, stat)) = read.map_err(|error| session.failure(&error, "read", &lock.grants))? else {
        return Ok(None);
    };
    // A lock whose grants cannot be read grants nothing, and does not hide the others.
    let Ok(mut grants) = Grants::decode(&lock.grants, &data) else { return Ok(None) };
    grants.complete(stat.mtime, stat.mzxid);
    let grant = grants.0.remove(unit).filter(|grant| grant.request == czxid);
    Ok(grant.map(|grant| Granted {
        lock: lock.name.clone(),
        request: czxid,
        token: grant.token,
        granted: grant.granted.map(window::rfc3339),
        by: grant.by,
        reason: grant.reason,
    }))
}
