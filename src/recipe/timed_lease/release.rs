//! Giving a lease back, and renewing one by its owner's name.

use std::time::Duration;

use zookeeper_client as zk;

use super::claim::Claim;
use super::clock::{self, Moment};
use super::contest::Found;
use super::lock_record::LockRecord;
use super::steps;
use crate::acl;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::record::{Decision, Record, Stored};
use crate::session::{Failure, Session, Unacknowledged};
use crate::wait::Budget;

const STILL_HELD: &str = "the lease may be held still, or be free; it is renewed no more, and ends by the clock";
const MAYBE_RENEWED: &str = "the lease may have been renewed, or not; ask status";

/// Whose lease is meant.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// That of one hold, and no other, which nobody can take over before it ends.
    Hold {
        /// The claim that has become the hold.
        claim: &'a Claim,
        /// Until when it is held.
        ends: Moment,
    },
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
                Self::Hold { claim, .. } => {
                    record.holder == claim.owner && record.hold.as_ref().is_some_and(|hold| hold.id == claim.hold)
                }
                Self::Owner(owner) => record.holder == *owner,
                Self::Anybody => true,
            }
    }

    /// The answer of a release whose reply was lost, and since which the record was written more than once: whose lease it
    /// has given back. What is not the owner's any more is certainly not held. Before a hold ends nobody takes it over, so
    /// that whoever has it then has found it free. `None`: the record does not tell.
    fn given_back(&self, path: &str, found: &Found) -> Option<Option<String>> {
        let now = Moment::now();
        let record = found.as_ref().and_then(|(data, _)| LockRecord::decode(path, data).ok());
        match self {
            Self::Anybody => None,
            _ if record.is_some_and(|record| self.is_it(&record)) => None,
            Self::Hold { claim, ends } => Some((now < *ends).then(|| claim.owner.clone())),
            Self::Owner(_) => Some(None),
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
/// The record is read again. If it is the next version with what was to be written, the lease was given back; and so it was
/// where another has taken it since, before it would have ended.
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
    change(client, path, acl, STILL_HELD, known, budget, decide, |found| whose.given_back(path, found)).await
}

/// Renews the lease that an owner holds by name, for `duration`, or for as long as before: until when it is held, which is
/// later than now; `None` where the owner does not hold it.
///
/// # Errors
/// As [`release`].
///
/// # Cancellation
/// The error says whether the lease may have been renewed.
///
/// # Lost connection
/// The record is read again, and written again if need be. A renewal counts from before its own request was sent; one that
/// is over when that is known is made again.
pub async fn renew_by_name(
    client: &Client,
    path: &str,
    owner: &str,
    duration: Option<Duration>,
    acl: &acl::List,
    budget: &Budget,
) -> Result<Option<Moment>> {
    let decide = |found: Option<(LockRecord, &zk::Stat)>| {
        Ok(match found {
            Some((record, stat)) if record.holder == owner && record.hold.as_ref().is_none_or(|hold| hold.by_name) => {
                let duration = duration.unwrap_or(record.duration);
                let token = steps::token(&record, stat.mzxid);
                let ends = Moment::now().after(duration);
                Decision::Write(steps::renewed(&record, duration, token, &clock::wall()), Some(ends))
            }
            _ => Decision::Keep(None),
        })
    };
    loop {
        let ends = change(client, path, acl, MAYBE_RENEWED, None, budget, decide, |_| None).await?;
        if ends.is_none_or(|ends| Moment::now() < ends) {
            return Ok(ends);
        }
    }
}

/// Reads the record, unless it is known, decides, and writes, until it is certain what became of that. Where the versions do
/// not tell what became of a write whose reply was lost, `otherwise` may, by the record that is there now.
#[allow(clippy::too_many_arguments)]
pub(super) async fn change<R: Clone + Send>(
    client: &Client,
    path: &str,
    acl: &acl::List,
    consequence: &'static str,
    known: Found,
    budget: &Budget,
    decide: impl Fn(Option<(LockRecord, &zk::Stat)>) -> Result<Decision<LockRecord, R>> + Sync,
    otherwise: impl Fn(&Found) -> Option<R> + Sync,
) -> Result<R> {
    let unacknowledged = Unacknowledged::new(consequence);
    let record = Record::new(path, acl);
    let mut known = known;
    let attempt = |session: Session| {
        let (unacknowledged, record, known) = (&unacknowledged, &record, known.take());
        let (decide, otherwise) = (&decide, &otherwise);
        async move {
            let found = match known {
                None => record.read(&session).await?,
                known => known,
            };
            let known_by_record = if unacknowledged.is_any() { otherwise(&found) } else { None };
            match (record.update_from(&session, unacknowledged, found, decide).await, known_by_record) {
                (Err(Failure::Final(Error::ConnectionLost { .. })), Some(answer)) => Ok(answer),
                (changed, _) => changed.map(|(answer, _)| answer),
            }
        }
    };
    client.write(budget, path, &unacknowledged, attempt).await
}
