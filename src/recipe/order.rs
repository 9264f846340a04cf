//! Who is next. Pure.
//!
//! The order of a queue is the sequence that the server gave, not the name. A contender watches the
//! one right before it, so that a release wakes one waiter and not all.
//! Source: the lock recipe of ZooKeeper's documentation, and kazoo's `Lock._get_predecessor`.

use crate::recipe::names;

/// Where a contender stands in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Not in the queue: its session ended, or somebody removed its place.
    Absent,
    /// Nobody is before it.
    First,
    /// Others are.
    Behind {
        /// The one right before it, the one to watch.
        predecessor: &'a str,
    },
}

/// Where `mine` stands among the children of a queue. Children that are no places do not count.
#[must_use]
pub fn standing<'a>(queue: &'a [String], mine: &str) -> Standing<'a> {
    let Some(own) = queue.iter().find(|name| *name == mine).and_then(|name| names::sequence(name)) else {
        return Standing::Absent;
    };
    let before = queue.iter().filter_map(|name| Some((names::sequence(name)?, name))).filter(|(seq, _)| *seq < own);
    match before.max_by_key(|(sequence, _)| *sequence) {
        Some((_, predecessor)) => Standing::Behind { predecessor },
        None => Standing::First,
    }
}

/// How many are before `mine`, and itself: 1 is next. `None` for one that is absent.
#[must_use]
pub fn position(queue: &[String], mine: &str) -> Option<usize> {
    let own = queue.iter().find(|name| *name == mine).and_then(|name| names::sequence(name))?;
    Some(1 + queue.iter().filter(|name| names::sequence(name).is_some_and(|sequence| sequence < own)).count())
}

/// The place that a contender entered under the unique name `prefix`: the first, should a reply that
/// was lost have left more than one.
#[must_use]
pub fn own_place<'a>(queue: &'a [String], prefix: &str) -> Option<&'a str> {
    let own = queue.iter().filter(|name| name.starts_with(prefix));
    own.filter_map(|name| Some((names::sequence(name)?, name.as_str()))).min().map(|(_, name)| name)
}

/// Whether a pool of `leases` children has a slot to give under `limit`. Every child counts, also one
/// that is no lease.
#[must_use]
pub fn has_room(leases: usize, limit: i64) -> bool {
    i64::try_from(leases).is_ok_and(|leases| leases < limit)
}
