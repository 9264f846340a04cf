//! A stand-in for `async-io` 2.6 that holds the one type `zookeeper-client` uses of it.
//!
//! The real crate drives all timers of a process from one static thread and one epoll descriptor.
//! Neither works in a child after `fork()`, and nothing can renew them, so a forked process that
//! uses them hangs. Tokio's timers belong to a runtime, and a child can make itself a new one.
//!
//! Delete this crate when `zookeeper-client` can be built on tokio alone.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, Sleep};

/// A timer that fires once, never, or again and again.
///
/// It may be made outside a runtime, and must be polled inside one. Its output is the instant it
/// was scheduled for, not the one at which it was noticed. A periodic timer is polled again after
/// it was ready, and has then armed itself for the next period.
#[derive(Debug)]
pub struct Timer {
    when: Option<Instant>,
    period: Option<Duration>,
    // Made at first poll: `Sleep` panics where there is no runtime.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// A timer that never fires.
    #[must_use]
    pub fn never() -> Self {
        Self { when: None, period: None, sleep: None }
    }

    /// A timer that fires once, `duration` from now; never, if that is beyond the clock's range.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self { when: Instant::now().checked_add(duration), period: None, sleep: None }
    }

    /// A timer that fires once, at `instant`.
    #[must_use]
    pub fn at(instant: Instant) -> Self {
        Self { when: Some(instant), period: None, sleep: None }
    }

    /// A timer that fires every `period`, for the first time after one period.
    #[must_use]
    pub fn interval(period: Duration) -> Self {
        Self { when: Instant::now().checked_add(period), period: Some(period), sleep: None }
    }
}

impl Future for Timer {
    type Output = Instant;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        let this = self.get_mut();
        let Some(when) = this.when else {
            return Poll::Pending;
        };
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(when.into())));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        match this.period.and_then(|period| when.checked_add(period)) {
            Some(next) => {
                sleep.as_mut().reset(next.into());
                this.when = Some(next);
            }
            None => {
                this.when = None;
                this.sleep = None;
            }
        }
        Poll::Ready(when)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_unpin<T: Unpin + Send>() {}

    #[test]
    fn is_unpin_and_made_outside_a_runtime() {
        assert_unpin::<Timer>();
        let timer = Timer::after(Duration::from_secs(1));
        assert!(timer.sleep.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn yields_the_scheduled_instant() {
        let when = Instant::now() + Duration::from_millis(20);
        assert_eq!(Timer::at(when).await, when);
    }

    #[tokio::test(start_paused = true)]
    async fn interval_arms_itself_again() {
        let period = Duration::from_millis(10);
        let mut timer = Timer::interval(period);
        let first = (&mut timer).await;
        let second = (&mut timer).await;
        assert_eq!(second - first, period);
    }

    #[tokio::test(start_paused = true)]
    async fn never_does_not_fire() {
        let long = tokio::time::timeout(Duration::from_secs(3600), Timer::never()).await;
        assert!(long.is_err());
        let fired = tokio::time::timeout(Duration::from_secs(3600), Timer::after(Duration::MAX)).await;
        assert!(fired.is_err());
    }
}
