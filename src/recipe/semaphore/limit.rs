//! The limit of a pool: the bytes that the pool stores, as kazoo writes them, and whether a slot is free. Pure.

/// The data of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No data: no contender has set the limit yet.
    Unset,
    /// The most leases the pool may hold.
    Number(i64),
    /// Data that is no number. It is left alone, and limits nothing.
    Foreign,
}

impl Limit {
    /// Reads the data of a pool. Blanks around the number do not matter, as in kazoo.
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

/// Whether a pool of `leases` children has a free slot under `limit`. Every child counts, also one that is no lease.
#[must_use]
pub fn has_room(leases: usize, limit: i64) -> bool {
    i64::try_from(leases).is_ok_and(|leases| leases < limit)
}
