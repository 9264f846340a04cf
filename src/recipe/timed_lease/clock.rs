//! The clock by which a lease is held and waited for, and the wall clock for what people read.
//!
//! `CLOCK_BOOTTIME` goes on while a machine is suspended. By `CLOCK_MONOTONIC` a laptop that slept for a night would
//! still take the lease of the evening for its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{clock_gettime, ClockId};

/// An instant of this machine: the time since it was started, suspended or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Self(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0)))
    }

    /// A while later; the end of time, where that is beyond the clock's range.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long it is from `earlier` to this; zero where that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Nanoseconds, for an atomic number.
    pub(super) fn nanoseconds(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The moment of so many nanoseconds.
    pub(super) fn of_nanoseconds(nanoseconds: u64) -> Self {
        Self(Duration::from_nanos(nanoseconds))
    }
}

/// Waits until a moment by this clock. A timer of the runtime stands still while the machine is suspended, and so may
/// end late by as much as the machine slept; nothing is done then without another look at the clock.
pub async fn until(moment: Moment) {
    /// The longest sleep between two looks: what a suspension can add to a wait.
    const LONGEST: Duration = Duration::from_secs(1);
    loop {
        let left = moment.since(Moment::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST)).await;
    }
}

/// The wall clock of this host, as the record has times: UTC, RFC 3339, microseconds.
pub(super) fn wall() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

/// The wall clock of this host, as the time since 1970.
pub(super) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
