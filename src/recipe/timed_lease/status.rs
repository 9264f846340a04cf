//! A lease as the on-call engineer asks for it: who holds it since when and until when, and who waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{join, join3};
use serde::Serialize;
use zookeeper_client as zk;

use super::lock_record::LockRecord;
use super::{names, steps};
use crate::children::{self, or_missing};
use crate::client::Client;
use crate::error::Result;
use crate::recipe::{identifier, queue};
use crate::record::Stored;
use crate::session::{Attempt, Failure, Session};
use crate::wait::Budget;

/// A lease and its queue at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The record's full path.
    pub path: String,
    /// Who holds it; `None` where nobody does, or there is no record.
    pub holder: Option<Holder>,
    /// How often it has changed hands.
    pub transitions: i64,
    /// Who waits, in the order of the queue.
    pub waiters: Vec<Waiter>,
}

/// A lease as one of many.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The record's full path.
    pub path: String,
    /// Who holds it; `None` where nobody does.
    pub holder: Option<Holder>,
    /// How often it has changed hands.
    pub transitions: i64,
    /// How many wait.
    pub waiting: usize,
}

/// Who holds a lease.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// `holderIdentity`.
    pub owner: String,
    /// When it was taken, by the holder's wall clock, as the record has it.
    pub acquired: Option<String>,
    /// Seconds for which it is held after each renewal.
    pub duration: f64,
    /// When it was renewed, by the servers' clock: UTC, in the form of RFC 3339.
    pub renewed: String,
    /// When it ends if it is not renewed, by the servers' clock.
    pub until: String,
    /// Seconds until then, by this host's clock; negative: it is over, and others may take it once the clock skew that
    /// they allow for is over as well.
    pub left: f64,
    /// The zxid of the transaction that took it; `None` where another program holds it.
    pub fencing_token: Option<i64>,
    /// Whether it goes by its owner's name, so that any process may renew it that names the owner.
    pub by_name: bool,
}

/// A queue node.
#[derive(Clone, Debug, Serialize)]
pub struct Waiter {
    /// The owner in its data.
    pub owner: String,
    /// 1 is next.
    pub position: usize,
    /// When it was created, by the servers' clock.
    pub since: String,
    /// Seconds since then, by this host's clock.
    pub age: f64,
}

/// The state of a lease, in two round trips. One that nobody has taken yet has no holder.
///
/// # Errors
/// [`crate::Error::Argument`] where the znode holds no record; [`crate::Error::NoAuth`], [`crate::Error::AuthFailed`],
/// [`crate::Error::Unreachable`], [`crate::Error::Cancelled`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The lease is read again while the time in `budget` lasts.
pub async fn status(client: &Client, path: &str, budget: &Budget) -> Result<Status> {
    client.answer(budget, path, |session| async move { read(&session, path).await }).await
}

async fn read(session: &Session, path: &str) -> Attempt<Status> {
    let queue = names::queue(path);
    let refused = |error| session.failure(&error, "read", path);
    // The queue is read first: one who takes the lease meanwhile, and leaves the queue, is seen twice and not missing.
    let flight = join3(session.sync(path), session.list_children(&queue), session.get_data(path));
    let (synced, nodes, found) = flight.await;
    synced.map_err(refused)?;
    let nodes = or_missing(nodes).map_err(refused)?.unwrap_or_default();
    let found = or_missing(found).map_err(refused)?;
    let mut nodes: Vec<_> = nodes.into_iter().filter(|name| queue::names::sequence(name).is_some()).collect();
    nodes.sort_by_key(|name| queue::names::sequence(name));
    let nodes = children::read(session, &queue, nodes).await?;
    let now = SystemTime::now();
    let mut waiters = Vec::new();
    for (name, node) in nodes {
        let node = or_missing(node).map_err(|error| session.failure(&error, "read", &format!("{queue}/{name}")))?;
        if let Some((data, stat)) = node {
            let (owner, since) = (identifier::decode(&data).into_owned(), time(stat.ctime));
            let age = -seconds_until(since, now);
            waiters.push(Waiter { owner, position: waiters.len() + 1, since: text(since), age: age.max(0.0) });
        }
    }
    let record = found.map(|(data, stat)| LockRecord::decode(path, &data).map(|record| (record, stat)));
    let (holder, transitions) = match record.transpose().map_err(Failure::Final)? {
        None => (None, 0),
        Some((record, stat)) => (holder(&record, &stat, now), record.transitions),
    };
    Ok(Status { path: path.to_owned(), holder, transitions, waiters })
}

fn holder(record: &LockRecord, stat: &zk::Stat, now: SystemTime) -> Option<Holder> {
    let renewed = time(stat.mtime);
    let until = renewed.checked_add(record.duration).unwrap_or_else(last);
    (!record.is_free()).then(|| Holder {
        owner: record.holder.clone(),
        acquired: record.acquired.clone(),
        duration: record.duration.as_secs_f64(),
        renewed: text(renewed),
        until: text(until),
        left: seconds_until(until, now),
        fencing_token: steps::token(record, stat.mzxid),
        by_name: record.hold.as_ref().is_none_or(|hold| hold.by_name),
    })
}

/// The leases right below a path, in the order of their names. What is no lease is left out, and so is what may not be
/// read.
///
/// # Errors
/// [`crate::Error::NoAuth`], [`crate::Error::AuthFailed`], [`crate::Error::Unreachable`], [`crate::Error::Cancelled`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// They are read again while the time in `budget` lasts.
pub async fn below(client: &Client, path: &str, budget: &Budget) -> Result<Vec<Summary>> {
    client.answer(budget, path, |session| async move { read_below(&session, path).await }).await
}

async fn read_below(session: &Session, path: &str) -> Attempt<Vec<Summary>> {
    let parent = if path == "/" { "" } else { path };
    let mut names = children::list(session, path).await?;
    names.sort_unstable();
    let (queues, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| names::is_queue(name));
    let full = |name: &String| format!("{parent}/{name}");
    let records = children::read(session, parent, names);
    let waiting = futures::future::join_all(queues.iter().map(|name| {
        let queue = full(name);
        async move {
            let nodes = session.list_children(&queue).await.unwrap_or_default();
            (queue, nodes.iter().filter(|name| queue::names::sequence(name).is_some()).count())
        }
    }));
    let (records, waiting) = join(records, waiting).await;
    let now = SystemTime::now();
    let mut found = Vec::new();
    for (name, read) in records? {
        let Ok((data, stat)) = read else { continue };
        let path = full(&name);
        let Some(record) = LockRecord::decode(&path, &data).ok().filter(|_| !data.is_empty()) else { continue };
        let queue = names::queue(&path);
        let waiting = waiting.iter().find(|(name, _)| *name == queue).map_or(0, |(_, waiting)| *waiting);
        let (holder, transitions) = (holder(&record, &stat, now), record.transitions);
        found.push(Summary { path, holder, transitions, waiting });
    }
    Ok(found)
}

fn time(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

/// The end of the year 9999. Beyond that there is no text for a time.
fn last() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time.min(last())).to_string()
}

/// Seconds from now to a time, to the millisecond.
fn seconds_until(time: SystemTime, now: SystemTime) -> f64 {
    let seconds = match time.duration_since(now) {
        Ok(left) => left.as_secs_f64(),
        Err(over) => -over.duration().as_secs_f64(),
    };
    (seconds * 1000.0).round() / 1000.0
}
