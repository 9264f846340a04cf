//! How long the servers may not have heard of a session.
//!
//! The protocol client takes a session for expired two fifths of its timeout after the servers may have ended it
//! (zookeeper-client 0.11.2). Until then a holder would not know that the servers may have given its slot to another.
//! So a holder asks the servers now and then, and counts the session timeout from the last question that was answered.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::failure::{Reply, PAUSE};

/// Questions in one session timeout: more than the protocol client's pings to a server that is asked nothing, so that
/// the client sends no pings.
const QUESTIONS: u32 = 8;

/// The questions that a session has asked its servers.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Questions>);

#[derive(Debug, Default)]
struct Questions {
    /// When the last question was asked.
    asked: Option<Instant>,
    /// When the question was asked which the servers have answered last.
    answered: Option<Instant>,
}

impl Silence {
    /// Waits until the servers may have ended the session, because they have heard nothing of it for its `timeout`.
    /// However many wait, one question is asked at a time, with `ask`. The answer is when that was.
    ///
    /// Somebody asks from `since` on, also while an attempt follows another over a lost connection: the silence counts from
    /// then, or from the question that was answered last.
    pub(super) async fn lasts<T, A>(&self, timeout: Duration, since: Instant, ask: impl Fn() -> A) -> Instant
    where
        A: Future<Output = Reply<T>>,
    {
        let pause = timeout / QUESTIONS;
        loop {
            let now = Instant::now();
            let (next, answered) = self.ask_now(now, pause);
            let end = answered.map_or(since, |answered| answered.max(since)) + timeout;
            if now >= end {
                return end;
            }
            if let Some(next) = next {
                tokio::time::sleep_until(next.min(end).into()).await;
                continue;
            }
            match tokio::time::timeout_at(end.into(), ask()).await {
                Ok(Ok(_)) => self.update(|questions| questions.answered = questions.answered.max(Some(now))),
                Ok(Err(_)) => {
                    tokio::time::sleep(PAUSE).await;
                    self.update(|questions| questions.asked = None);
                }
                Err(_) => {}
            }
        }
    }

    /// When the next question is due, and when the one was asked that was answered last. `None`: it is due now, and
    /// counts as asked.
    fn ask_now(&self, now: Instant, pause: Duration) -> (Option<Instant>, Option<Instant>) {
        self.update(|questions| {
            let next = questions.asked.map(|asked| asked + pause).filter(|next| *next > now);
            if next.is_none() {
                questions.asked = Some(now);
            }
            (next, questions.answered)
        })
    }

    fn update<T>(&self, change: impl FnOnce(&mut Questions) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
