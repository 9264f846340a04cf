//! The identifier in the data of a znode, as kazoo writes it there. Pure.

use std::borrow::Cow;

/// The identifier in the data of a lease or of a party member, lossily where it is not UTF-8.
#[must_use]
pub fn decode(data: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// The identifier in the data of a queue node. Kazoo's semaphore writes Python's notation for bytes there, `b'web1'`,
/// which is shown as `web1`.
#[must_use]
pub fn of_waiter(data: &[u8]) -> Cow<'_, str> {
    let quoted = |quote| data.strip_prefix(&[b'b', quote])?.strip_suffix(&[quote]);
    decode(quoted(b'\'').or_else(|| quoted(b'"')).unwrap_or(data))
}
