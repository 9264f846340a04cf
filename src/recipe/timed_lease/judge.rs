//! Whether a lease may be taken, and when it may be asked again. Pure: the clocks are read by the caller.

use std::time::Duration;

use super::claim::{Claim, Rule};
use super::clock::Moment;
use super::lock_record::LockRecord;

/// How a lease stands to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody holds it.
    Free,
    /// This very claim has taken it: the reply was lost.
    Taken,
    /// The claim's owner holds it by name, and the claim goes by name as well.
    OwnByName,
    /// Somebody else holds it, or another hold of the same owner.
    Held,
}

/// How the lease of a record, which may not be there yet, stands to a claim.
#[must_use]
pub fn standing(record: Option<&LockRecord>, claim: &Claim) -> Standing {
    let Some(record) = record.filter(|record| !record.is_free()) else {
        return Standing::Free;
    };
    if record.holder != claim.owner {
        return Standing::Held;
    }
    match &record.hold {
        Some(hold) if hold.id == claim.hold => Standing::Taken,
        Some(hold) if hold.by_name && claim.by_name => Standing::OwnByName,
        // Another program, for which the name is all there is.
        None if claim.by_name => Standing::OwnByName,
        _ => Standing::Held,
    }
}

/// Since when a contender has seen the same version of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The zxid of the last change: no two changes have the same, also where a record is deleted and made anew.
    mzxid: i64,
    since: Moment,
}

impl Sight {
    /// What is known once the record was seen with this `mzxid`, in a reply that came `now`.
    #[must_use]
    pub fn of(before: Option<Self>, mzxid: i64, now: Moment) -> Self {
        before.filter(|before| before.mzxid == mzxid).unwrap_or(Self { mzxid, since: now })
    }
}

/// A time that the leader has stamped on a znode of this contender, and when the contender learned of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since 1970, by the clock of whoever was the leader.
    pub milliseconds: i64,
    /// By the contender's own clock.
    pub at: Moment,
}

/// What is known of the times of a lease that somebody else holds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For how long after its last change it is held.
    pub duration: Duration,
    /// Since when this version is seen.
    pub sight: Sight,
    /// When the record was changed last: milliseconds, by the clock of whoever was the leader.
    pub modified: i64,
    /// When it was renewed by the holder's wall clock, since 1970.
    pub renewed: Option<Duration>,
    /// The last stamp, if there is one.
    pub stamp: Option<Stamp>,
    /// Now, by this host's wall clock, since 1970.
    pub wall: Duration,
    /// Now.
    pub now: Moment,
}

/// Whether the lease of somebody else is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is: the record may be written over, if it is still at the version that was read.
    Over,
    /// A new stamp of the servers' clock is needed to tell.
    AskServers,
    /// Not before that long from now, unless the record changes.
    In(Duration),
}

/// Whether the lease of somebody else is over, by the claim's rule.
#[must_use]
pub fn verdict(rule: Rule, times: &Times) -> Verdict {
    let observed = times.sight.since.after(times.duration).since(times.now);
    if observed.is_zero() {
        return Verdict::Over;
    }
    match rule {
        Rule::Observed { max_clock_skew: None } => Verdict::In(observed),
        Rule::Observed { max_clock_skew: Some(skew) } => served(times, skew, observed),
        // A time that cannot be read says nothing.
        Rule::RecordedTime => match times.renewed.map(|renewed| renewed.saturating_add(times.duration)) {
            Some(end) if end < times.wall => Verdict::Over,
            Some(end) => Verdict::In(observed.min(end.saturating_sub(times.wall) + Duration::from_millis(1))),
            None => Verdict::In(observed),
        },
    }
}

/// By the servers' clock: the stamp was made after the record was read, or before the record was read again and found the
/// same, so that the record was not changed before the stamp.
fn served(times: &Times, skew: Duration, observed: Duration) -> Verdict {
    let Some(stamp) = times.stamp else {
        return Verdict::AskServers;
    };
    // Both times are cut to milliseconds, which may make their difference greater by one.
    let needed = times.duration.saturating_add(skew).saturating_add(Duration::from_millis(1));
    let age = Duration::from_millis(u64::try_from(stamp.milliseconds.saturating_sub(times.modified)).unwrap_or(0));
    if age >= needed {
        return Verdict::Over;
    }
    // Where the record was changed after the stamp, the two are further apart still.
    let lead = Duration::from_millis(u64::try_from(times.modified.saturating_sub(stamp.milliseconds)).unwrap_or(0));
    let left = needed.saturating_sub(age).saturating_add(lead);
    match left.saturating_sub(times.now.since(stamp.at)) {
        Duration::ZERO => Verdict::AskServers,
        left => Verdict::In(left.min(observed)),
    }
}
