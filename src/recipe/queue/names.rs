//! What the znodes of a queue are called. Pure.
//!
//! ```text
//! P-__lock__                               the queue, a sibling of the znode P that it is about
//! P-__lock__/<32 hex>__lock__<10 digits>   a queue node: the hexadecimal is unique, the digits are the server's
//! ```
//!
//! The names are those of kazoo's `Lock`.

use uuid::Uuid;

const MARK: &str = "__lock__";
/// Digits of a queue node's sequence.
const DIGITS: usize = 10;

/// Bytes that a queue node's path is longer than that of the znode which its queue is about.
pub(crate) const NODE_SUFFIX: usize = 60;

/// The queue about a znode.
#[must_use]
pub fn queue(path: &str) -> String {
    format!("{path}-{MARK}")
}

/// A new, unique name for a queue node, to which the server adds the sequence.
#[must_use]
pub fn node() -> String {
    format!("{}{MARK}", Uuid::new_v4().simple())
}

/// The sequence of a queue node, or `None` for a child of the queue that is no queue node.
///
/// Kazoo's rule: ten digits, and a sign once the counter has overflowed, after the mark at the end.
#[must_use]
pub fn sequence(name: &str) -> Option<i64> {
    let (rest, digits) = name.split_at_checked(name.len().checked_sub(DIGITS)?)?;
    let (marked, sign) = rest.strip_suffix('-').map_or((rest, 1), |rest| (rest, -1));
    let well_formed = marked.ends_with(MARK) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if well_formed {
        Some(sign * digits.parse::<i64>().ok()?)
    } else {
        None
    }
}

/// Whether a queue node has a sequence that no other has. Once the counter of a queue has reached its greatest number
/// it stays there, or turns negative, by the version of the servers.
#[must_use]
pub fn is_in_order(node: &str) -> bool {
    sequence(node).is_some_and(|sequence| (0..i64::from(i32::MAX)).contains(&sequence))
}
