//! How long a call waits, and the instant at which that ends. Pure: the caller reads the clock.

use std::time::{Duration, Instant};

/// How long a caller waits: the argument `timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// `None`: for ever.
    Forever,
    /// `0`: try once, and wait for no other contender.
    Once,
    /// This long, everything included.
    For(Duration),
}

/// The instant at which a wait ends, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// A wait without end.
    pub const NEVER: Self = Self(None);

    /// `duration` after `now`; never, where that is beyond the clock's range.
    #[must_use]
    pub fn after(now: Instant, duration: Duration) -> Self {
        Self(now.checked_add(duration))
    }

    /// The earlier of the two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }

    /// The instant, or `None` for never.
    #[must_use]
    pub fn instant(self) -> Option<Instant> {
        self.0
    }
}
