//! How a wait ends: the answer comes, the time is up, or the caller gives up.
//!
//! Every blocking point of the recipes is inside one [`Budget::race`]. Time is monotonic. What has to
//! be tidied up afterwards runs outside the race, under a grace of its own.

mod cancel;
pub mod deadline;

use std::future::Future;
use std::time::{Duration, Instant};

use deadline::{Deadline, Timeout};

pub use cancel::Cancel;

/// Why a race ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The time was up.
    TimedOut,
    /// The caller gave up.
    Cancelled,
}

/// What one call may spend: its time, all of it in one account, and its way out.
#[derive(Clone, Debug)]
pub struct Budget {
    timeout: Timeout,
    started: Instant,
    deadline: Deadline,
    reach: Duration,
    cancel: Cancel,
}

impl Budget {
    /// For a call that waits for something to happen. Trying once still needs an answer, and waits
    /// for that as long as an ensemble is looked for.
    #[must_use]
    pub fn waiting(timeout: Timeout, connect_timeout: Duration, cancel: Cancel) -> Self {
        let started = Instant::now();
        let deadline = match timeout {
            Timeout::Forever => Deadline::NEVER,
            Timeout::Once => Deadline::after(started, connect_timeout),
            Timeout::For(duration) => Deadline::after(started, duration),
        };
        Self { timeout, started, deadline, reach: connect_timeout, cancel }
    }

    /// For a call that only wants an answer: as long as an ensemble is looked for, or less.
    #[must_use]
    pub fn answer(timeout: Timeout, connect_timeout: Duration, cancel: Cancel) -> Self {
        let shorter = match timeout {
            Timeout::For(duration) => Timeout::For(duration.min(connect_timeout)),
            timeout => timeout,
        };
        Self { timeout, ..Self::change(shorter, connect_timeout, cancel) }
    }

    /// For a call that changes something. Where the caller names a time it is obeyed, through an outage as well;
    /// otherwise the call lasts as long as an ensemble is looked for.
    #[must_use]
    pub fn change(timeout: Timeout, connect_timeout: Duration, cancel: Cancel) -> Self {
        let started = Instant::now();
        let most = match timeout {
            Timeout::Forever | Timeout::Once => connect_timeout,
            Timeout::For(duration) => duration,
        };
        Self { timeout, started, deadline: Deadline::after(started, most), reach: most, cancel }
    }

    /// How long an ensemble is looked for, before it counts as out of reach.
    #[must_use]
    pub fn reach(&self) -> Duration {
        self.reach
    }

    /// Whether to wait for others at all.
    #[must_use]
    pub fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// How long the call has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Why the call was cancelled.
    #[must_use]
    pub fn cancelled_by(&self) -> &'static str {
        self.cancel.by()
    }

    /// Runs `work` until it ends, `limit` or the budget's own end is reached, or the caller gives up.
    /// Work that is done counts, even where the time is up as well; none is begun for a caller who has given up already.
    ///
    /// # Errors
    /// [`Cut`]; `work` is then dropped where it stood.
    pub async fn race<T>(&self, limit: Deadline, work: impl Future<Output = T>) -> Result<T, Cut> {
        if self.cancel.is_cancelled() {
            return Err(Cut::Cancelled);
        }
        let end = self.deadline.or(limit).instant();
        let time_up = async {
            match end {
                Some(end) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.cancel.cancelled() => Err(Cut::Cancelled),
            () = time_up => Err(Cut::TimedOut),
        }
    }
}
