//! How a wait ends: the answer comes, the time is up, or the caller gives up.
//!
//! Every blocking point of the recipes is inside one [`Budget::race`]. Time is monotonic. What has to
//! be tidied up afterwards runs outside the race, under a grace of its own.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::deadline::{Deadline, Patience};

/// A way to make waits end, and to say why. Cancelling one cancels its children.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    token: CancellationToken,
    reason: Arc<OnceLock<&'static str>>,
    parent: Option<Arc<Cancel>>,
    /// What a caller has in hand to end this wait, and perhaps others.
    handle: CancellationToken,
}

impl Cancel {
    /// One that is cancelled with `self`, or alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), parent: Some(Arc::new(self.clone())), ..Self::default() }
    }

    /// The same, which a caller's `handle` cancels too.
    #[must_use]
    pub fn with_handle(self, handle: CancellationToken) -> Self {
        Self { handle, ..self }
    }

    /// Waits until it is cancelled.
    pub(crate) async fn cancelled(&self) {
        tokio::select! {
            () = self.token.cancelled() => {}
            () = self.handle.cancelled() => {}
        }
    }

    fn is_cancelled(&self) -> bool {
        self.token.is_cancelled() || self.handle.is_cancelled()
    }

    /// Ends all waits under this and its children. The first reason given stays.
    pub fn cancel(&self, by: &'static str) {
        let _ = self.reason.set(by);
        self.token.cancel();
    }

    /// Why it was cancelled.
    #[must_use]
    pub fn by(&self) -> &'static str {
        let inherited = || self.parent.as_ref().map_or("the caller", |parent| parent.by());
        self.reason.get().copied().unwrap_or_else(inherited)
    }
}

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
    patience: Patience,
    started: Instant,
    deadline: Deadline,
    reach: Duration,
    cancel: Cancel,
}

impl Budget {
    /// For a call that waits for something to happen. Trying once still needs an answer, and waits
    /// for that as long as an ensemble is looked for.
    #[must_use]
    pub fn waiting(patience: Patience, connect_timeout: Duration, cancel: Cancel) -> Self {
        let started = Instant::now();
        let deadline = match patience {
            Patience::Forever => Deadline::NEVER,
            Patience::Once => Deadline::after(started, connect_timeout),
            Patience::For(duration) => Deadline::after(started, duration),
        };
        Self { patience, started, deadline, reach: connect_timeout, cancel }
    }

    /// For a call that only wants an answer: as long as an ensemble is looked for, or less.
    #[must_use]
    pub fn answer(patience: Patience, connect_timeout: Duration, cancel: Cancel) -> Self {
        let shorter = match patience {
            Patience::For(duration) => Patience::For(duration.min(connect_timeout)),
            patience => patience,
        };
        Self { patience, ..Self::change(shorter, connect_timeout, cancel) }
    }

    /// For a call that changes something. Where the caller names a time it is obeyed, through an outage as well;
    /// otherwise the call lasts as long as an ensemble is looked for.
    #[must_use]
    pub fn change(patience: Patience, connect_timeout: Duration, cancel: Cancel) -> Self {
        let started = Instant::now();
        let most = match patience {
            Patience::Forever | Patience::Once => connect_timeout,
            Patience::For(duration) => duration,
        };
        Self { patience, started, deadline: Deadline::after(started, most), reach: most, cancel }
    }

    /// How long an ensemble is looked for, before it counts as out of reach.
    #[must_use]
    pub fn reach(&self) -> Duration {
        self.reach
    }

    /// Whether to wait for others at all.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Whether all of it is spent.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.deadline.instant().is_some_and(|end| Instant::now() >= end)
    }

    /// How long the call has run.
    #[must_use]
    pub fn spent(&self) -> Duration {
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
