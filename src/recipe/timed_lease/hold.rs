//! A lease that this process holds, and keeps renewing.
//!
//! Whether it is held is a matter of the clock, and is answered without asking anybody: until a moment before the last
//! acknowledged renewal was sent, plus the duration. A process that was stopped, or a machine that was suspended, finds
//! the lease over at its first look.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zookeeper_client as zk;

use super::claim::{Claim, Pace};
use super::clock::{self, Moment};
use super::contest::Taken;
use super::release::{release, Whose};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::wait::Budget;

/// How a hold has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was given back.
    Released,
    /// No renewal was acknowledged for its whole duration. Nobody else may have it yet.
    Overdue,
    /// Somebody else has it: the holder's name.
    TakenOver(String),
    /// Somebody has given it back in the holder's name, or by force.
    Freed,
    /// Somebody has deleted the record.
    Deleted,
    /// Somebody has written something else over the record.
    Overwritten,
    /// This process has ended its sessions, and renews it no more.
    Unrenewed,
}

impl End {
    /// What has happened, for the end of a sentence. What somebody else has written is not told here.
    #[must_use]
    pub fn text(&self) -> &'static str {
        match self {
            Self::Released => "it was given back",
            Self::Overdue => "no renewal was acknowledged for its whole duration",
            Self::TakenOver(_) => "somebody else holds it",
            Self::Freed => "somebody else has given it back",
            Self::Deleted => "somebody has deleted its record",
            Self::Overwritten => "somebody has written something else over its record",
            Self::Unrenewed => "this process has ended its sessions, and renews it no more",
        }
    }
}

/// What a hold tells of itself while nobody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// No renewal was acknowledged for the renew deadline, and what the servers answered last where they refuse it. It is
    /// tried on, until the lease ends.
    Late(Option<String>),
    /// The hold is lost.
    Lost(End),
}

/// Who is told of news, together with the unique name of the hold.
pub type Tell = Arc<dyn Fn(&str, News) + Send + Sync>;

/// A lease that this process holds.
#[derive(Clone)]
pub struct Hold(pub(super) Arc<Held>);

/// What is known of a hold.
pub(super) struct Held {
    pub(super) claim: Arc<Claim>,
    pub(super) pace: Pace,
    pub(super) token: i64,
    pub(super) transitions: i64,
    /// Who held it before, whose lease was over.
    pub(super) from: Option<String>,
    /// Until when it is held: nanoseconds of a [`Moment`].
    ends: AtomicU64,
    /// How often it was renewed.
    pub(super) renewals: AtomicI64,
    pub(super) end: watch::Sender<Option<End>>,
    /// The record as it was last written, or seen.
    known: Mutex<(Vec<u8>, zk::Stat)>,
    /// One renewal at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Ends the renewals.
    pub(super) stop: CancellationToken,
    pub(super) tell: Tell,
    /// What the servers answered to the last renewal, where they refused it.
    pub(super) refusal: Mutex<Option<String>>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claim { path, owner, hold, .. } = &*self.0.claim;
        f.debug_struct("Hold").field("path", path).field("owner", owner).field("hold", hold).finish_non_exhaustive()
    }
}

impl Hold {
    pub(super) fn new(taken: Taken, pace: Pace, tell: Tell) -> Self {
        let ends = AtomicU64::new(taken.sent.after(taken.claim.duration).nanoseconds());
        Self(Arc::new(Held {
            claim: taken.claim,
            pace,
            token: taken.token,
            transitions: taken.transitions,
            from: taken.from,
            ends,
            renewals: AtomicI64::new(0),
            end: watch::Sender::new(None),
            known: Mutex::new(taken.known),
            turn: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            tell,
            refusal: Mutex::default(),
        }))
    }

    /// The claim that has become this hold.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.0.claim
    }

    /// The fencing token.
    #[must_use]
    pub fn token(&self) -> i64 {
        self.0.token
    }

    /// How often the lease has changed hands.
    #[must_use]
    pub fn transitions(&self) -> i64 {
        self.0.transitions
    }

    /// Who held it before, whose lease was over and was not given back.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        self.0.from.as_deref()
    }

    /// How often it was renewed.
    #[must_use]
    pub fn renewals(&self) -> i64 {
        self.0.renewals.load(Ordering::Relaxed)
    }

    /// Until when it is held, if it has not ended before that.
    #[must_use]
    pub fn ends(&self) -> Moment {
        Moment::of_nanoseconds(self.0.ends.load(Ordering::Acquire))
    }

    /// How it has ended, as far as it is known. Whoever has seen that it is over by the clock sees so from then on: an
    /// acknowledgement that comes after that does not bring it back. Once somebody else is seen to have it, or to have
    /// changed its record, that is how it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        self.end_if(&End::Overdue, || Moment::now() >= self.ends());
        self.0.end.borrow().clone()
    }

    /// The record as it was last written, or seen: its data and its stat.
    #[must_use]
    pub fn record(&self) -> (Vec<u8>, i32, i64) {
        let known = self.known();
        (known.0.clone(), known.1.version, known.1.mzxid)
    }

    pub(super) fn known(&self) -> MutexGuard<'_, (Vec<u8>, zk::Stat)> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a renewal was acknowledged which was sent after this moment. `false`: the hold was over before that.
    pub(super) fn renewed(&self, sent: Moment) -> bool {
        let mut is_in_time = false;
        self.0.end.send_if_modified(|end| {
            is_in_time = end.is_none() && Moment::now() < self.ends();
            if is_in_time {
                self.0.ends.fetch_max(sent.after(self.0.claim.duration).nanoseconds(), Ordering::AcqRel);
                self.0.renewals.fetch_add(1, Ordering::Relaxed);
            }
            false
        });
        is_in_time
    }

    /// Notes how the hold has ended, once, and tells it where it is lost.
    pub(super) fn end(&self, how: &End) {
        self.end_if(how, || true);
        let is_of_others = matches!(how, End::TakenOver(_) | End::Freed | End::Deleted | End::Overwritten);
        // It was told when the lease was over by the clock. Here it is only known better.
        self.0.end.send_if_modified(|end| {
            let is_news = is_of_others && *end == Some(End::Overdue);
            if is_news {
                *end = Some(how.clone());
            }
            is_news
        });
    }

    fn end_if(&self, how: &End, condition: impl FnOnce() -> bool) {
        let has_ended = self.0.end.send_if_modified(|end| {
            let ends = end.is_none() && condition();
            if ends {
                *end = Some(how.clone());
            }
            ends
        });
        if has_ended {
            if *how != End::Overdue {
                self.0.stop.cancel();
            }
            if *how != End::Released {
                (self.0.tell)(&self.0.claim.hold, News::Lost(how.clone()));
            }
        }
    }

    /// Waits until it has ended, or ends within `early` unless a renewal is acknowledged by then: until when it is held
    /// still. `None`: it has ended, and [`Hold::ended`] says how.
    ///
    /// # Cancellation
    /// Nothing was changed.
    pub async fn lost_early(&self, early: Duration) -> Option<Moment> {
        let mut end = self.0.end.subscribe();
        loop {
            if self.ended().is_some() {
                return None;
            }
            let (now, ends) = (Moment::now(), self.ends());
            let left = ends.since(now);
            if left <= early {
                return Some(ends);
            }
            tokio::select! {
                () = async { drop(end.wait_for(Option::is_some).await) } => {}
                () = clock::until(now.after(left.saturating_sub(early))) => {}
            }
        }
    }

    /// Notes that this process cannot renew it any more: the file descriptors of the runtime are closed. Nothing of that
    /// runtime can be woken up, and nobody is told.
    pub fn give_up(&self) {
        self.0.end.send_if_modified(|end| {
            end.get_or_insert(End::Unrenewed);
            false
        });
    }

    /// Renews it no more, and says nothing: it runs out.
    pub fn stop(&self) {
        // Who does not renew it any more need not be told, and may be of a runtime that is gone.
        if *self.0.end.borrow() != Some(End::Unrenewed) {
            self.0.stop.cancel();
        }
    }

    /// Renews it no more, for a caller who will not get it.
    pub fn abandon(&self) {
        self.end(&End::Released);
    }

    /// Gives the lease back: `true`; `false` where it is not this hold's any more. From here on it is renewed no more.
    ///
    /// # Errors
    /// As [`release`]. The lease ends by the clock in any case.
    ///
    /// # Cancellation
    /// As [`release`].
    ///
    /// # Lost connection
    /// As [`release`].
    pub async fn release(&self, client: &Client, budget: &Budget) -> Result<bool> {
        // What was over before is a loss, and is told.
        let _ = self.ended();
        self.end(&End::Released);
        self.stop();
        let claim = &self.0.claim;
        let (data, stat) = self.known().clone();
        let whose = Whose::Hold { claim, ends: self.ends() };
        match release(client, &whose, &claim.path, &claim.acl, Some((data, stat)), budget).await {
            // What is there is no record any more, and so not this hold's.
            Err(Error::Argument { .. }) => Ok(false),
            released => Ok(released?.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::acl;
    use crate::recipe::timed_lease::claim::Rule;

    fn hold(duration: Duration, sent: Moment) -> (Hold, Arc<Mutex<Vec<News>>>) {
        let claim = Claim {
            path: "/a".into(),
            owner: "a".into(),
            hold: "h".into(),
            by_name: false,
            duration,
            rule: Rule::Observed { max_clock_skew: None },
            acl: acl::List::default(),
        };
        let pace = Pace { renew_deadline: duration, retry_period: duration, release_on_cancel: false };
        let stat = zk::Stat {
            czxid: 1,
            mzxid: 1,
            pzxid: 1,
            ctime: 0,
            mtime: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 0,
            data_length: 0,
            num_children: 0,
        };
        let (claim, known) = (Arc::new(claim), (Vec::new(), stat));
        let taken = Taken { claim, token: 1, transitions: 0, sent, from: None, is_new: true, known };
        let news = Arc::new(Mutex::new(Vec::new()));
        let heard = news.clone();
        (Hold::new(taken, pace, Arc::new(move |_, item| heard.lock().unwrap().push(item))), news)
    }

    #[test]
    fn an_acknowledgement_in_time_makes_it_longer_and_an_older_one_not_shorter() {
        let now = Moment::now();
        let (hold, _) = hold(Duration::from_secs(600), now);
        assert!(hold.renewed(now.after(Duration::from_secs(5))));
        assert!(hold.renewed(now));
        assert_eq!(hold.ends(), now.after(Duration::from_secs(605)));
        assert_eq!((hold.ended(), hold.renewals()), (None, 2));
    }

    #[test]
    fn what_is_over_is_not_brought_back_by_an_acknowledgement_that_comes_late() {
        let sent = Moment(Moment::now().0.saturating_sub(Duration::from_secs(10)));
        let (hold, news) = hold(Duration::from_secs(10), sent);
        assert!(!hold.renewed(Moment::now()));
        assert_eq!(hold.ended(), Some(End::Overdue));
        assert!(!hold.renewed(Moment::now().after(Duration::from_secs(60))));
        assert_eq!(hold.ended(), Some(End::Overdue));
        hold.end(&End::TakenOver("b".into()));
        assert_eq!(hold.ended(), Some(End::TakenOver("b".into())), "and then it is known who has it");
        hold.end(&End::Deleted);
        assert_eq!(hold.ended(), Some(End::TakenOver("b".into())));
        assert_eq!(*news.lock().unwrap(), [News::Lost(End::Overdue)], "it is told once");
    }

    #[tokio::test]
    async fn a_loss_is_known_before_it_comes_and_one_that_has_come_at_once() {
        let (hold, _) = hold(Duration::from_secs(600), Moment::now());
        assert_eq!(hold.lost_early(Duration::from_secs(900)).await, Some(hold.ends()));
        let soon = tokio::time::timeout(Duration::from_millis(20), hold.lost_early(Duration::from_secs(1))).await;
        assert!(soon.is_err());
        let ending = async {
            tokio::task::yield_now().await;
            hold.end(&End::Freed);
        };
        let (lost, ()) = futures::future::join(hold.lost_early(Duration::from_secs(1)), ending).await;
        assert_eq!((lost, hold.ended()), (None, Some(End::Freed)));
    }

    #[test]
    fn what_was_given_back_is_no_loss() {
        let (hold, news) = hold(Duration::from_secs(10), Moment::now());
        hold.abandon();
        hold.end(&End::Deleted);
        assert_eq!((hold.ended(), news.lock().unwrap().len()), (Some(End::Released), 0));
        assert!(!hold.renewed(Moment::now()));
    }
}
