//! What is written into the record at each step. Pure: times come as text, from whoever reads a clock.

use std::time::Duration;

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
