//! The bytes stored in znodes, as kazoo writes them. Pure.

use std::borrow::Cow;

/// The data of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No data: nobody has said yet.
    Unset,
    /// The most leases the pool may hold.
    Number(i64),
    /// Data of somebody else, which is left alone and limits nothing.
    Foreign,
}

impl Limit {
    /// Reads the data of a pool. Blanks around the number are no matter, as in kazoo.
    #[must_use]
    pub fn decode(data: &[u8]) -> Self {
        if data.is_empty() {
            return Self::Unset;
        }
        let number = std::str::from_utf8(data).ok().and_then(|text| text.trim().parse().ok());
        number.map_or(Self::Foreign, Self::Number)
    }

    /// The data of a pool of `limit` slots: ASCII decimal.
    #[must_use]
    pub fn encode(limit: u32) -> String {
        limit.to_string()
    }
}

/// The identifier in the data of a lease or a party member, lossily where it is not UTF-8.
#[must_use]
pub fn identifier(data: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// The identifier in the data of a place in a queue. Kazoo's semaphore writes Python's notation for
/// bytes there, `b'web1'`, which is shown as `web1`.
#[must_use]
pub fn waiter(data: &[u8]) -> Cow<'_, str> {
    let quoted = |quote| data.strip_prefix(&[b'b', quote])?.strip_suffix(&[quote]);
    identifier(quoted(b'\'').or_else(|| quoted(b'"')).unwrap_or(data))
}
