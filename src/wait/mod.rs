//! How a wait ends: the answer comes, the time is up, or the caller gives up.
//!
//! Every wait of the recipes is inside one [`Budget::race`]. Time is monotonic. What deletes znodes after a race, such
//! as the queue node of a caller who gave up, runs outside it and has a time of its own.

mod cancel;
pub mod deadline;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use deadline::{Deadline, Timeout};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

pub use cancel::Cancel;

/// Why a race ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The time was up.
    TimedOut,
    /// The caller gave up.
    Cancelled,
}

/// The time of one call, in one account, and the ways in which its caller can give up.
#[derive(Clone, Debug)]
pub struct Budget {
    timeout: Timeout,
    started: Instant,
    deadline: Deadline,
    reach: Duration,
    /// The caller has named a time that is to be obeyed through an outage.
    is_patient: bool,
    cancel: Cancel,
}

impl Budget {
    /// For a call that waits for something to happen. A call that tries once still waits for the servers' answer, for
    /// as long as they may take to be reached.
    #[must_use]
    pub fn waiting(timeout: Timeout, connect_timeout: Duration, cancel: Cancel) -> Self {
        let started = Instant::now();
        let deadline = match timeout {
            Timeout::Forever => Deadline::NEVER,
            Timeout::Once => Deadline::after(started, connect_timeout),
            Timeout::For(duration) => Deadline::after(started, duration),
        };
        Self { timeout, started, deadline, reach: connect_timeout, is_patient: false, cancel }
    }

    /// For a call that only wants an answer: as long as the servers may take to be reached, or less.
    #[must_use]
    pub fn answer(timeout: Timeout, connect_timeout: Duration, cancel: Cancel) -> Self {
        let shorter = match timeout {
            Timeout::For(duration) => Timeout::For(duration.min(connect_timeout)),
            timeout => timeout,
        };
        Self { timeout, is_patient: false, ..Self::change(shorter, connect_timeout, cancel) }
    }

    /// For a call that changes something. Where the caller names a time it is obeyed, through an outage as well.
    /// Otherwise the call lasts as long as the servers may take to be reached.
    #[must_use]
    pub fn change(timeout: Timeout, connect_timeout: Duration, cancel: Cancel) -> Self {
        let started = Instant::now();
        let most = match timeout {
            Timeout::Forever | Timeout::Once => connect_timeout,
            Timeout::For(duration) => duration,
        };
        let is_patient = matches!(timeout, Timeout::For(_));
        Self { timeout, started, deadline: Deadline::after(started, most), reach: most, is_patient, cancel }
    }

    /// When the call has begun.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// How long the servers may take to be reached, before the ensemble counts as out of reach.
    #[must_use]
    pub fn reach(&self) -> Duration {
        self.reach
    }

    /// Whether the call goes on looking for a server though none can be used now.
    #[must_use]
    pub fn is_patient(&self) -> bool {
        self.is_patient
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

    /// Whether the time is up.
    pub(crate) fn is_time_up(&self) -> bool {
        self.deadline.instant().is_some_and(|end| Instant::now() >= end)
    }

    /// Whether the caller has given up.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Why the call was cancelled.
    #[must_use]
    pub fn cancelled_by(&self) -> &'static str {
        self.cancel.by()
    }

    /// Runs `work` until it is done, until `limit` or the budget's own end, or until the caller gives up. Work that is
    /// done counts, even where the time is up at the same moment. No work is begun for a caller who has given up
    /// already.
    ///
    /// # Errors
    /// [`Cut`].
    ///
    /// # Cancellation
    /// `work` is dropped where it stood.
    pub fn race<'a, T, W>(&'a self, limit: Deadline, work: W) -> impl Future<Output = Result<T, Cut>> + use<'a, T, W>
    where
        W: Future<Output = T>,
    {
        let end = self.deadline.or(limit).instant();
        Race { work, cancel: &self.cancel, cancelled: self.cancel.cancelled(), time_up: None, end, is_begun: false }
    }
}

pin_project! {
    /// [`Budget::race`]. It has the work in it once: the future of an `async fn` keeps what it was given beside what it
    /// waits for, and each of the races in a call would double the size of all that is in it.
    struct Race<'a, W, C> {
        #[pin]
        work: W,
        cancel: &'a Cancel,
        #[pin]
        cancelled: C,
        #[pin]
        time_up: Option<Sleep>,
        end: Option<Instant>,
        is_begun: bool,
    }
}

impl<W: Future, C: Future<Output = ()>> Future for Race<'_, W, C> {
    type Output = Result<W::Output, Cut>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if !*this.is_begun && this.cancel.is_cancelled() {
            return Poll::Ready(Err(Cut::Cancelled));
        }
        *this.is_begun = true;
        if let Poll::Ready(done) = this.work.poll(cx) {
            return Poll::Ready(Ok(done));
        }
        if this.cancelled.poll(cx).is_ready() {
            return Poll::Ready(Err(Cut::Cancelled));
        }
        let Some(end) = *this.end else { return Poll::Pending };
        if this.time_up.is_none() {
            this.time_up.set(Some(tokio::time::sleep_until(end.into())));
        }
        match this.time_up.as_pin_mut().map(|time_up| time_up.poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(Cut::TimedOut)),
            _ => Poll::Pending,
        }
    }
}
