//! Who is next. Pure.
//!
//! The order of a queue is the sequence that the server gave, not the name. A contender watches the queue node right
//! before its own, so that a queue node that goes wakes one waiter and not all.
//!
//! Source: the lock recipe of ZooKeeper's documentation, and kazoo's `Lock._get_predecessor`.

use std::time::Duration;

use super::names;

/// Waiters whose positions are told are this many at the head of the queue that read it every [`TELL_EVERY`]; those
/// behind them read it the more seldom the longer it is.
const NEAR: usize = 50;
/// How often a waiter near the head of the queue reads it, where somebody wants to know its position.
pub const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long a waiter whose position is told pauses before it reads the queue again.
///
/// To read a queue costs as much as the queue is long, and every waiter reads it. With one pause for all, the traffic
/// would grow with the square of the length. So each waiter pauses as much longer as the queue is longer than
/// [`NEAR`], and reads about as many names a second in a queue of any length. Those near the head are the exception:
/// it matters to them, and they are few.
#[must_use]
pub fn pause_between_tellings(position: usize, length: usize) -> Duration {
    if position <= NEAR {
        return TELL_EVERY;
    }
    let times = u32::try_from(length.max(position) / NEAR).unwrap_or(u32::MAX);
    TELL_EVERY.saturating_mul(times.max(1))
}

/// Where a queue node stands in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It is not there: its session ended, or somebody removed it.
    Absent,
    /// No queue node is before it.
    First,
    /// Others are before it.
    Behind {
        /// The queue node right before it, which is the one to watch.
        predecessor: &'a str,
    },
}

/// Where the queue node `mine` stands among the children of a queue. Children that are no queue nodes do not count.
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

/// The position of the queue node `mine`: 1 is next. `None` for one that is absent.
#[must_use]
pub fn position(queue: &[String], mine: &str) -> Option<usize> {
    let own = queue.iter().find(|name| *name == mine).and_then(|name| names::sequence(name))?;
    Some(1 + queue.iter().filter(|name| names::sequence(name).is_some_and(|sequence| sequence < own)).count())
}

/// The queue node that a contender made under the unique name `prefix`. Should a lost reply have left more than one, it
/// is the first of them.
#[must_use]
pub fn own_node<'a>(queue: &'a [String], prefix: &str) -> Option<&'a str> {
    let own = queue.iter().filter(|name| name.starts_with(prefix));
    own.filter_map(|name| Some((names::sequence(name)?, name.as_str()))).min().map(|(_, name)| name)
}
