//! A pool as the on-call engineer asks for it: who holds a slot since when, who waits in what place,
//! and the limit, which can be changed here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{join, join4};
use serde::Serialize;
use zookeeper_client as zk;

use crate::children::{self, or_missing};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::recipe::claim::Claim;
use crate::recipe::data::{self, Limit};
use crate::recipe::names;
use crate::record::{Decision, Record, Stored};
use crate::session::{Failure, Session, Unacknowledged};
use crate::wait::Budget;

type Attempt<T> = std::result::Result<T, Failure>;

/// A pool and its queue at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The pool's full path.
    pub path: String,
    /// The stored limit; `None` where the pool stores none.
    pub max_concurrency: Option<i64>,
    /// Slots to be had; `None` where nothing limits them. Never negative.
    pub free: Option<i64>,
    /// Who holds a slot, the longest holder first.
    pub holders: Vec<Holder>,
    /// Who waits, in the order of the queue.
    pub waiters: Vec<Waiter>,
}

/// A lease of a pool.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// Whose it is.
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
}

/// A place in a queue.
#[derive(Clone, Debug, Serialize)]
pub struct Waiter {
    /// Who waits.
    pub identifier: String,
    /// 1 is next.
    pub position: usize,
    /// Since when, as in [`Holder`].
    pub since: String,
    /// Seconds since then, by this host's clock.
    pub age: f64,
    /// Its session, in hexadecimal.
    pub session: Option<String>,
    /// The name of its znode.
    pub place: String,
}

/// The state of a pool, in two round trips. A missing pool has no limit, no holders and no waiters.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::Cancelled`].
pub async fn status(client: &Client, pool: &str, budget: &Budget) -> Result<Status> {
    client.answer(budget, pool, |session| async move { look(&session, pool).await }).await
}

async fn look(session: &Session, pool: &str) -> Attempt<Status> {
    let queue = names::queue(pool);
    let refused = |error| session.failure(&error, "read", pool);
    // The queue comes first: who leaves it with a lease meanwhile is seen twice, and not nowhere.
    let flight =
        join4(session.sync(pool), session.list_children(&queue), session.get_data(pool), session.list_children(pool));
    let (synced, places, data, leases) = flight.await;
    synced.map_err(refused)?;
    let data = or_missing(data).map_err(refused)?.map(|(data, _)| data).unwrap_or_default();
    let leases = or_missing(leases).map_err(refused)?.unwrap_or_default();
    let places = or_missing(places).map_err(refused)?.unwrap_or_default();
    let mut places: Vec<_> = places.into_iter().filter(|name| names::sequence(name).is_some()).collect();
    places.sort_by_key(|name| names::sequence(name));
    let max_concurrency = match Limit::decode(&data) {
        Limit::Number(number) => Some(number),
        Limit::Unset | Limit::Foreign => None,
    };
    let taken = i64::try_from(leases.len()).unwrap_or(i64::MAX);

    let (leases, places) = join(children::read(session, pool, leases), children::read(session, &queue, places)).await;
    let now = SystemTime::now();
    let mut holders = Vec::new();
    for (name, data, stat) in present(session, pool, leases?)? {
        let (since, age) = time(stat.ctime, now);
        let identifier = data::identifier(&data).into_owned();
        let (ephemeral, fencing_token) = (stat.ephemeral_owner != 0, stat.czxid);
        holders.push(Holder { identifier, since, age, ephemeral, fencing_token, session: owner(&stat), lease: name });
    }
    holders.sort_by_key(|holder| holder.fencing_token);
    let mut waiters = Vec::new();
    for (index, (name, data, stat)) in present(session, &queue, places?)?.into_iter().enumerate() {
        let (since, age) = time(stat.ctime, now);
        let identifier = data::waiter(&data).into_owned();
        waiters.push(Waiter { identifier, position: index + 1, since, age, session: owner(&stat), place: name });
    }
    let free = max_concurrency.map(|limit| limit.saturating_sub(taken).max(0));
    Ok(Status { path: pool.to_owned(), max_concurrency, free, holders, waiters })
}

/// Those znodes that are still there; one that may not be read is an error.
fn present(
    session: &Session,
    parent: &str,
    reads: Vec<(String, children::Read)>,
) -> Attempt<Vec<(String, Vec<u8>, zk::Stat)>> {
    let mut found = Vec::with_capacity(reads.len());
    for (name, read) in reads {
        match or_missing(read) {
            Ok(Some((data, stat))) => found.push((name, data, stat)),
            Ok(None) => {}
            Err(error) => return Err(session.failure(&error, "read", &format!("{parent}/{name}"))),
        }
    }
    Ok(found)
}

fn owner(stat: &zk::Stat) -> Option<String> {
    (stat.ephemeral_owner != 0).then(|| format!("{:#x}", stat.ephemeral_owner))
}

/// When, as text, and how long ago; a clock that is behind the servers' makes that zero.
fn time(milliseconds: i64, now: SystemTime) -> (String, f64) {
    let then = UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    let age = now.duration_since(then).unwrap_or_default();
    (humantime::format_rfc3339_seconds(then).to_string(), (age.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// What a change of a limit has done.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// The pool's full path.
    pub path: String,
    /// The limit before; `None` where the pool stored none, or did not exist.
    pub old: Option<i64>,
    /// The limit now.
    pub new: u32,
    /// How many hold a slot.
    pub holders: usize,
    /// How many of them are above the new limit. Nobody was evicted.
    pub overshoot: usize,
}

/// Changes the stored limit of a claim's pool to that of the claim, by compare-and-set. Waiters see it
/// at once. A missing pool is made.
///
/// # Errors
/// [`Error::Argument`] for a pool with data that is no number, which is left alone; [`Error::NoAuth`],
/// [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::Cancelled`], [`Error::Server`].
pub async fn set_max(client: &Client, claim: &Claim, budget: &Budget) -> Result<Change> {
    let unacknowledged = Unacknowledged::new("the limit may have been changed, or not; ask status");
    let (pool, limit) = (&claim.pool, claim.limit);
    let record = Record::new(pool, &claim.acl);
    let attempt = |session: Session| {
        let (unacknowledged, record) = (&unacknowledged, &record);
        async move {
            let update = record.update(&session, unacknowledged, |stored| Ok(decide(stored, limit)));
            let (leases, old) = join(session.list_children(pool), update).await;
            let leases = or_missing(leases).map_err(|error| session.failure(&error, "read", pool))?;
            let holders = leases.unwrap_or_default().len();
            let overshoot = holders.saturating_sub(limit as usize);
            Ok(Change { path: pool.clone(), old: old?, new: limit, holders, overshoot })
        }
    };
    client.write(budget, pool, &unacknowledged, attempt).await
}

/// What a change of the limit to `wanted` writes, and the limit before.
fn decide(stored: Option<StoredLimit>, wanted: u32) -> Decision<StoredLimit, Option<i64>> {
    let old = stored.and_then(|StoredLimit(number)| number);
    if old == Some(i64::from(wanted)) {
        Decision::Keep(old)
    } else {
        Decision::Write(StoredLimit(Some(i64::from(wanted))), old)
    }
}

/// The number in a pool's data, if there is one.
struct StoredLimit(Option<i64>);

impl Stored for StoredLimit {
    fn decode(path: &str, data: &[u8]) -> Result<Self> {
        match Limit::decode(data) {
            Limit::Number(number) => Ok(Self(Some(number))),
            Limit::Unset => Ok(Self(None)),
            Limit::Foreign => {
                let reason = format!("{path} holds data that is no number; it is not a pool, or somebody else's");
                Err(Error::argument("path", reason))
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        self.0.map(|number| number.to_string()).unwrap_or_default().into_bytes()
    }
}
