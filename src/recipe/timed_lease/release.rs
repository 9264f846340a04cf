//! Giving a lease back, and renewing one by its owner's name.

use std::time::Duration;

use zookeeper_client as zk;

use super::claim::Claim;
use super::clock;
use super::contest::Found;
use super::lock_record::LockRecord;
use super::steps;
use crate::acl;
use crate::client::Client;
use crate::error::Result;
use crate::record::{Decision, Record};
use crate::session::{Session, Unacknowledged};
use crate::wait::Budget;

const STILL_HELD: &str = "the lease may be held still, or be free; it is renewed no more, and ends by the clock";
const MAYBE_RENEWED: &str = "the lease may have been renewed, or not; ask status";

/// Whose lease is meant.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// That of one hold, and no other.
    Hold(&'a Claim),
    /// That of an owner, whichever hold of its.
    Owner(&'a str),
    /// Whoever's it is.
    Anybody,
}

impl Whose<'_> {
    /// Whether a record's lease is meant. A free one is nobody's.
    #[must_use]
    pub fn is_it(&self, record: &LockRecord) -> bool {
        !record.is_free()
            && match self {
                Self::Hold(claim) => {
                    record.holder == claim.owner && record.hold.as_ref().is_some_and(|hold| hold.id == claim.hold)
                }
                Self::Owner(owner) => record.holder == *owner,
                Self::Anybody => true,
            }
    }
}

/// Gives a lease back: who held it; `None` where it is not the lease that was meant, or is not held. `known`: the record as
/// it is taken to be, which spares a round trip.
///
/// # Errors
/// [`crate::Error::Argument`] where the znode holds no record of a lease; [`crate::Error::Unreachable`],
/// [`crate::Error::ConnectionLost`], [`crate::Error::Cancelled`], [`crate::Error::NoAuth`].
///
/// # Cancellation
/// The error says whether the lease may be held still.
///
/// # Lost connection
/// The record is read again. If it is the next version with what was to be written, the lease was given back.
pub async fn release(
    client: &Client,
    whose: &Whose<'_>,
    path: &str,
    acl: &acl::List,
    known: Found,
    budget: &Budget,
) -> Result<Option<String>> {
    let decide = |found: Option<(LockRecord, &zk::Stat)>| {
        Ok(match found {
            Some((record, _)) if whose.is_it(&record) => {
                Decision::Write(steps::released(&record, &clock::wall()), Some(record.holder))
            }
            _ => Decision::Keep(None),
        })
    };
    change(client, path, acl, STILL_HELD, known, budget, decide).await
}

/// Renews the lease that an owner holds by name, for `duration`, or for as long as before: the record and its stat; `None`
/// where the owner does not hold it.
///
/// # Errors
/// As [`release`].
///
/// # Cancellation
/// The error says whether the lease may have been renewed.
///
/// # Lost connection
/// The record is read again, and written again if need be.
pub async fn renew_by_name(
    client: &Client,
    path: &str,
    owner: &str,
    duration: Option<Duration>,
    acl: &acl::List,
    budget: &Budget,
) -> Result<Option<Duration>> {
    let decide = |found: Option<(LockRecord, &zk::Stat)>| {
        Ok(match found {
            Some((record, stat)) if record.holder == owner && record.hold.as_ref().is_none_or(|hold| hold.by_name) => {
                let duration = duration.unwrap_or(record.duration);
                let token = steps::token(&record, stat.mzxid);
                Decision::Write(steps::renewed(&record, duration, token, &clock::wall()), Some(duration))
            }
            _ => Decision::Keep(None),
        })
    };
    change(client, path, acl, MAYBE_RENEWED, None, budget, decide).await
}

/// Reads the record, unless it is known, decides, and writes, until it is certain what became of that.
pub(super) async fn change<R: Clone + Send>(
    client: &Client,
    path: &str,
    acl: &acl::List,
    consequence: &'static str,
    known: Found,
    budget: &Budget,
    decide: impl Fn(Option<(LockRecord, &zk::Stat)>) -> Result<Decision<LockRecord, R>> + Sync,
) -> Result<R> {
    let unacknowledged = Unacknowledged::new(consequence);
    let record = Record::new(path, acl);
    let mut known = known;
    let attempt = |session: Session| {
        let (unacknowledged, record, decide, known) = (&unacknowledged, &record, &decide, known.take());
        async move {
            let found = match known {
                None => record.read(&session).await?,
                known => known,
            };
            record.update_from(&session, unacknowledged, found, decide).await.map(|(answer, _)| answer)
        }
    };
    client.write(budget, path, &unacknowledged, attempt).await
}
