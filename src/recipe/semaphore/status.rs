//! A pool as the on-call engineer asks for it: who holds a slot since when, and who waits at which position.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{join, join3};
use serde::Serialize;
use zookeeper_client as zk;

use super::limit::Limit;
use super::names::reasons;
use super::reason::Reason;
use crate::children::{self, or_missing};
use crate::client::Client;
use crate::error::Result;
use crate::multi_read;
use crate::recipe::identifier;
use crate::recipe::queue::names;
use crate::session::{Attempt, Owner, Session};
use crate::wait::Budget;

/// How often a pool is read anew whose queue moves all the time.
const MOST_READINGS: usize = 5;

/// A pool and its queue at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The pool's full path.
    pub path: String,
    /// Whether the pool's znode is there.
    #[serde(skip)]
    pub exists: bool,
    /// The stored limit; `None` where the pool stores none.
    pub max_concurrency: Option<i64>,
    /// Free slots, never negative; `None` where the pool stores no limit.
    pub free: Option<i64>,
    /// Who holds a slot, the longest holder first.
    pub holders: Vec<Holder>,
    /// Who waits, in the order of the queue.
    pub waiters: Vec<Waiter>,
}

/// A lease of a pool.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// The identifier in its data.
    pub identifier: String,
    /// When it was taken, by the servers' clock: UTC, in the form of RFC 3339.
    pub since: String,
    /// Seconds since then, by this host's clock.
    pub age: f64,
    /// Whether it ends with a session.
    pub ephemeral: bool,
    /// The zxid that created it: later holders have greater ones.
    pub fencing_token: i64,
    /// The session of an ephemeral lease, in hexadecimal.
    pub session: Option<String>,
    /// The name of its znode.
    pub lease: String,
    /// Why it is held, and by which process, where that was given; flat.
    #[serde(flatten)]
    pub why: Reason,
}

/// A queue node.
#[derive(Clone, Debug, Serialize)]
pub struct Waiter {
    /// The identifier in its data.
    pub identifier: String,
    /// 1 is next.
    pub position: usize,
    /// When it was created, as in [`Holder`].
    pub since: String,
    /// Seconds since then, by this host's clock.
    pub age: f64,
    /// Its session, in hexadecimal.
    pub session: Option<String>,
    /// Whether it belongs to no session: nobody waits by it, it never goes by itself, and all behind it wait for ever.
    pub orphan: bool,
    /// The name of its znode.
    #[serde(rename = "place")]
    pub queue_node: String,
}

/// The state of a pool, in two round trips; in more where a queue node went while the pool was read. A pool that does not exist has no limit, no holders and no waiters.
///
/// # Errors
/// [`crate::Error::NoAuth`], [`crate::Error::AuthFailed`], [`crate::Error::Unreachable`], [`crate::Error::Cancelled`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The pool is read again while the time in `budget` lasts.
pub async fn status(client: &Client, pool: &str, budget: &Budget) -> Result<Status> {
    client.answer(budget, pool, |session| async move { read(&session, pool).await }).await
}

/// Reads a pool until no queue node has gone while it was read, or often enough: its contender may have a lease by then,
/// which was not listed yet, so that it would be missing from both.
pub(super) async fn read(session: &Session, pool: &str) -> Attempt<Status> {
    for _ in 1..MOST_READINGS {
        if let (status, true) = read_once(session, pool).await? {
            return Ok(status);
        }
    }
    Ok(read_once(session, pool).await?.0)
}

/// The state of a pool, and whether all queue nodes that were listed were there to be read.
async fn read_once(session: &Session, pool: &str) -> Attempt<(Status, bool)> {
    let queue = names::queue(pool);
    let refused = |error| session.failure(&error, "read", pool);
    // The queue is read first. A contender that exchanges its queue node for a lease meanwhile is seen twice, where it
    // would otherwise be missing from both.
    let tree = reasons(pool);
    let synced = session.sync(pool);
    let reading = multi_read::read(session, &|reader| {
        reader.add_get_children(&queue)?;
        reader.add_get_data(pool)?;
        reader.add_get_children(pool)?;
        reader.add_get_children(&tree)
    });
    let (synced, answers) = join(synced, reading).await;
    synced.map_err(refused)?;
    let mut answers = answers.map_err(refused)?;
    let nodes = answers.children().map_err(refused)?.unwrap_or_default();
    let data = answers.data().map_err(refused)?;
    let exists = data.is_some();
    let data = data.map(|(data, _)| data).unwrap_or_default();
    let leases = answers.children().map_err(refused)?.unwrap_or_default();
    // What cannot be read is not told: who holds a slot matters more than why.
    let mut explained = answers.children().ok().flatten().unwrap_or_default();
    explained.retain(|name| leases.contains(name));
    let mut nodes: Vec<_> = nodes.into_iter().filter(|name| names::sequence(name).is_some()).collect();
    nodes.sort_by_key(|name| names::sequence(name));
    let listed = nodes.len();
    let max_concurrency = match Limit::decode(&data) {
        Limit::Number(number) => Some(number),
        Limit::Unset | Limit::Foreign => None,
    };
    let taken = i64::try_from(leases.len()).unwrap_or(i64::MAX);

    let explaining = async {
        let read = children::read(session, &tree, explained).await.unwrap_or_default();
        let known = read.into_iter().filter_map(|(name, read)| Some((name, Reason::decode(&read.ok()?.0))));
        known.collect::<HashMap<_, _>>()
    };
    let (leases, nodes, mut whys) =
        join3(children::read(session, pool, leases), children::read(session, &queue, nodes), explaining).await;
    let now = SystemTime::now();
    let mut holders = Vec::new();
    for (name, data, stat) in present(session, pool, leases?)? {
        let (since, age) = time(stat.ctime, now);
        let identifier = identifier::decode(&data).into_owned();
        let (session, fencing_token) = (Owner::of(&stat).session(), stat.czxid);
        let (ephemeral, why) = (session.is_some(), whys.remove(&name).unwrap_or_default());
        holders.push(Holder { identifier, since, age, ephemeral, fencing_token, session, lease: name, why });
    }
    holders.sort_by_key(|holder| holder.fencing_token);
    let mut waiters = Vec::new();
    for (index, (name, data, stat)) in present(session, &queue, nodes?)?.into_iter().enumerate() {
        let (since, age) = time(stat.ctime, now);
        let identifier = identifier::of_waiter(&data).into_owned();
        let (position, session) = (index + 1, Owner::of(&stat).session());
        let orphan = session.is_none();
        waiters.push(Waiter { identifier, position, since, age, session, orphan, queue_node: name });
    }
    let free = max_concurrency.map(|limit| limit.saturating_sub(taken).max(0));
    let is_whole = waiters.len() == listed;
    Ok((Status { path: pool.to_owned(), exists, max_concurrency, free, holders, waiters }, is_whole))
}

/// Those znodes that are still there. One that the caller may not read is an error.
fn present(
    session: &Session,
    parent: &str,
    reads: Vec<(String, children::Read)>,
) -> Attempt<Vec<(String, Vec<u8>, zk::Stat)>> {
    let mut present = Vec::with_capacity(reads.len());
    for (name, read) in reads {
        match or_missing(read) {
            Ok(Some((data, stat))) => present.push((name, data, stat)),
            Ok(None) => {}
            Err(error) => return Err(session.failure(&error, "read", &format!("{parent}/{name}"))),
        }
    }
    Ok(present)
}

/// When, as text, and how long ago; a clock that is behind the servers' makes that zero.
fn time(milliseconds: i64, now: SystemTime) -> (String, f64) {
    let then = UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    let age = now.duration_since(then).unwrap_or_default();
    (humantime::format_rfc3339_seconds(then).to_string(), (age.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// The identifiers that hold a slot, once for each of their leases, in no order. A pool that does not exist has none.
///
/// # Errors
/// As [`status`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The pool is read again while the time in `budget` lasts.
pub async fn holders(client: &Client, pool: &str, budget: &Budget) -> Result<Vec<String>> {
    client.answer(budget, pool, |session| async move { read_holders(&session, pool).await }).await
}

async fn read_holders(session: &Session, pool: &str) -> Attempt<Vec<String>> {
    let leases = children::list(session, pool).await?;
    let mut holders = Vec::with_capacity(leases.len());
    for (name, read) in children::read(session, pool, leases).await? {
        match read {
            Ok((data, _)) => holders.push(identifier::decode(&data).into_owned()),
            Err(zk::Error::NoNode) => {}
            Err(error) => return Err(session.failure(&error, "read", &format!("{pool}/{name}"))),
        }
    }
    Ok(holders)
}

/// What keeps a waiter from a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacles {
    /// As [`holders`].
    pub holders: Vec<String>,
    /// The first queue node, if it belongs to no session: all others wait until somebody deletes it.
    pub orphan: Option<String>,
}

/// Who holds a slot, and whether the queue is blocked, in two round trips.
///
/// # Errors
/// As [`holders`].
pub async fn obstacles(client: &Client, pool: &str, budget: &Budget) -> Result<Obstacles> {
    let attempt = |session: Session| async move {
        let (holders, orphan) = join(read_holders(&session, pool), first_if_orphan(&session, pool)).await;
        Ok(Obstacles { holders: holders?, orphan })
    };
    client.answer(budget, pool, attempt).await
}

/// The first queue node, if it belongs to no session. What cannot be read is not told.
async fn first_if_orphan(session: &Session, pool: &str) -> Option<String> {
    let queue = names::queue(pool);
    let nodes = session.list_children(&queue).await.ok()?;
    let first = nodes.iter().filter(|name| names::sequence(name).is_some()).min_by_key(|name| names::sequence(name))?;
    let path = format!("{queue}/{first}");
    let stat = session.check_stat(&path).await.ok()??;
    Owner::of(&stat).session().is_none().then_some(path)
}
