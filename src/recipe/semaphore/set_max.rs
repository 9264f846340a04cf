//! Changing the limit that a pool stores.

use futures::future::join;
use serde::Serialize;

use super::claim::Claim;
use super::limit::Limit;
use crate::children::or_missing;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::record::{Decision, Record, Stored};
use crate::session::{Session, Unacknowledged};
use crate::wait::Budget;

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

/// Changes the limit that the claim's pool stores. Waiters see it at once, and no holder is evicted. A pool
/// that does not exist is created.
///
/// # Errors
/// [`Error::Argument`] for a pool with data that is no number, which is left alone; [`Error::NoAuth`],
/// [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::ConnectionLost`], [`Error::Cancelled`], [`Error::Server`].
///
/// # Cancellation
/// The error says whether the limit may have been changed already.
///
/// # Lost connection
/// The pool is read again. If it has the next version and the wanted number, the write was carried out. It is never
/// repeated over a later write.
pub async fn set_max(client: &Client, claim: &Claim, limit: u32, budget: &Budget) -> Result<Change> {
    let unacknowledged = Unacknowledged::new("the limit may have been changed, or not; ask status");
    let pool = &claim.pool;
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
