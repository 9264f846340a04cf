//! What is written into the record at each step. Pure: times come as text, from whoever reads a clock.

use std::time::Duration;

use uuid::Uuid;

use super::claim::Claim;
use super::lock_record::{HoldMember, LockRecord};

/// The record once the claim has taken the lease. The record that is there may be free, or its lease over.
#[must_use]
pub fn taken(found: Option<&LockRecord>, claim: &Claim, wall: &str) -> LockRecord {
    let before = found.cloned().unwrap_or_default();
    LockRecord {
        holder: claim.owner.clone(),
        duration: claim.duration,
        acquired: Some(wall.to_owned()),
        renewed: Some(wall.to_owned()),
        // As in the original: the first holder of all is no change of hands.
        transitions: if found.is_some() { before.transitions.saturating_add(1) } else { 0 },
        hold: Some(HoldMember { id: claim.hold.clone(), by_name: claim.by_name, token: None }),
        ..before
    }
}

/// The record once its hold is renewed. `token`: what is known of it by now.
#[must_use]
pub fn renewed(found: &LockRecord, duration: Duration, token: Option<i64>, wall: &str) -> LockRecord {
    let hold = found.hold.clone().map(|hold| HoldMember { token: token.or(hold.token), ..hold });
    LockRecord { duration, renewed: Some(wall.to_owned()), hold, ..found.clone() }
}

/// The record of a lease that another program has taken in its owner's name, and that is renewed here: it gets a hold by
/// name, so that its fencing token stays the same from now on. `mzxid`: of the record that was found.
#[must_use]
pub fn named(record: LockRecord, mzxid: i64) -> LockRecord {
    let id = || Uuid::new_v4().simple().to_string();
    let hold = record.hold.clone();
    let hold = hold.unwrap_or_else(|| HoldMember { id: id(), by_name: true, token: Some(mzxid) });
    LockRecord { hold: Some(hold), ..record }
}

/// A record that somebody writes by hand over the one that was `found`. Whoever is written to hold it next does not inherit
/// the hold, and with it the fencing token, of the holder before; the same holder keeps its token, which is `mzxid` before
/// its first renewal.
#[must_use]
pub fn updated(new: LockRecord, found: &LockRecord, mzxid: i64) -> LockRecord {
    let same = found.hold.as_ref().map(|hold| &hold.id);
    let hold = new.hold.clone().filter(|hold| Some(&hold.id) != same || new.holder == found.holder);
    let hold = hold.map(|hold| match token(found, mzxid) {
        known if Some(&hold.id) == same => HoldMember { token: known.or(hold.token), ..hold },
        _ => hold,
    });
    LockRecord { hold, ..new }
}

/// The record once the lease is given back: free, as the original writes it.
#[must_use]
pub fn released(found: &LockRecord, wall: &str) -> LockRecord {
    LockRecord {
        holder: String::new(),
        duration: Duration::from_secs(1),
        acquired: Some(wall.to_owned()),
        renewed: Some(wall.to_owned()),
        hold: None,
        ..found.clone()
    }
}

/// The fencing token of a record's holder: the zxid of the transaction that took the lease. Before the first renewal that
/// is the last change of the record. `None`: another program holds it, and has renewed it since, for all that is known.
#[must_use]
pub fn token(record: &LockRecord, mzxid: i64) -> Option<i64> {
    let hold = record.hold.as_ref()?;
    Some(hold.token.unwrap_or(mzxid))
}
