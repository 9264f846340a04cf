//! How long the servers may not have heard of a session.
//!
//! The protocol client takes a session for expired two fifths of its timeout after the servers may have ended it
//! (zookeeper-client 0.11.2). Until then somebody who holds a slot in it would not know that another may hold it too. So
//! who has to know asks now and then, and goes by the last question that was answered.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Session, PAUSE};

/// How often there is a question in a session's timeout: more often than the protocol client sends pings to a server that
/// is asked nothing, so that it sends none.
const QUESTIONS: u32 = 8;

/// When the servers were asked last, and when that was which they have answered last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    asked: Option<Instant>,
    answered: Option<Instant>,
}

impl Session {
    /// Waits until the servers may have ended the session, for want of a word from us. However many wait, there is one
    /// question at a time, about `path`.
    pub(crate) async fn silent_for_too_long(&self, path: &str) {
        let (started, timeout) = (Instant::now(), self.timeout());
        let pause = timeout / QUESTIONS;
        loop {
            let now = Instant::now();
            let (next, answered) = self.ask_now(now, pause);
            let end = answered.map_or(started, |answered| answered.max(started)) + timeout;
            if now >= end {
                return;
            }
            if let Some(next) = next {
                tokio::time::sleep_until(next.min(end).into()).await;
                continue;
            }
            match tokio::time::timeout_at(end.into(), self.check_stat(path)).await {
                Ok(Ok(_)) => self.with_heard(|heard| heard.answered = heard.answered.max(Some(now))),
                Ok(Err(_)) => {
                    tokio::time::sleep(PAUSE).await;
                    self.with_heard(|heard| heard.asked = None);
                }
                Err(_) => {}
            }
        }
    }

    /// Whether it is time to ask: `None`, and it is noted; or when it will be. And when that was asked which was answered
    /// last.
    fn ask_now(&self, now: Instant, pause: Duration) -> (Option<Instant>, Option<Instant>) {
        self.with_heard(|heard| {
            let next = heard.asked.map(|asked| asked + pause).filter(|next| *next > now);
            if next.is_none() {
                heard.asked = Some(now);
            }
            (next, heard.answered)
        })
    }

    fn with_heard<T>(&self, change: impl FnOnce(&mut Heard) -> T) -> T {
        change(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
