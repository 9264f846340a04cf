//! Renewing a hold for as long as the process lives, and noticing its loss.
//!
//! Each renewal is one write, which needs the version that the hold has written last. With it travels a watch, so that
//! whatever somebody else does to the record is noticed at once, and not only at the next renewal.

use std::pin::pin;
use std::sync::{MutexGuard, PoisonError};

use futures::future::{join, pending, BoxFuture};
use zookeeper_client as zk;

use super::claim::Pace;
use super::clock::{self, Moment};
use super::contest::Taken;
use super::hold::{End, Hold, News, Tell};
use super::lock_record::LockRecord;
use super::release::Whose;
use super::steps;
use crate::children::or_missing;
use crate::client::{Client, Outage};
use crate::error::{Error, Result};
use crate::record::{Decision, Record, Stored};
use crate::session::shared::PROCESS_ENDS;
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::deadline::{Deadline, Timeout};
use crate::wait::{Budget, Cancel, Cut};

/// A watch on the record, which fires once.
type Watch = BoxFuture<'static, zk::WatchedEvent>;

/// Holds a lease that was taken, and renews it from now on: in the background, until it is released or lost, or the process
/// ends. `tell` is told of news, from a thread of the core.
///
/// At the end of the process it is given back where the pace says so; otherwise it runs out.
///
/// # Source
/// The renewals of leaselocker and of client-go's leader election.
#[must_use]
pub fn keep(client: &Client, taken: Taken, pace: Pace, tell: Tell) -> Hold {
    let hold = Hold::new(taken, pace, tell);
    let keeper = Keeper { client: client.watching(hold.claim().path.len()), hold: hold.clone() };
    client.clone().renewing(|cancel| async move {
        let stop = keeper.hold.0.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = cancel.cancelled() => keeper.at_the_end(&cancel).await,
            () = async {
                keeper.renew_until_ended(&cancel).await;
                keeper.see_what_becomes_of_it(&cancel).await;
            } => {}
        }
    });
    hold
}

/// Renews a hold now, for a caller who asks for it. How it has ended, where it has.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::ConnectionLost`], [`Error::Cancelled`], [`Error::NoAuth`], [`Error::Argument`] where
/// the znode holds no record any more.
///
/// # Cancellation
/// The lease may have been renewed. The renewals in the background go on.
///
/// # Lost connection
/// The record is read again, and written again while it is the hold's.
pub async fn renew(client: &Client, hold: &Hold, budget: &Budget) -> Result<Option<End>> {
    let path = &hold.claim().path;
    let unacknowledged = Unacknowledged::new("the lease may have been renewed, or not; it is renewed on");
    let mut is_known = true;
    let attempt = |session: Session| {
        let (unacknowledged, is_known) = (&unacknowledged, std::mem::replace(&mut is_known, false));
        async move { write(&session, hold, unacknowledged, is_known).await }
    };
    let end = match budget.race(Deadline::NEVER, hold.0.turn.lock()).await {
        Ok(_turn) => client.write(budget, path, &unacknowledged, attempt).await?,
        Err(Cut::TimedOut) => return Err(client.unreachable(budget.elapsed())),
        Err(Cut::Cancelled) => return Err(client.cancelled(budget, path, unacknowledged.consequence())),
    };
    if let Some(end) = &end {
        hold.end(end);
    }
    Ok(end)
}

/// Writes the renewal, in one session: how the hold has ended, where it has. `is_known`: the record is taken to be as it
/// was written last.
async fn write(
    session: &Session,
    hold: &Hold,
    unacknowledged: &Unacknowledged,
    is_known: bool,
) -> Attempt<Option<End>> {
    let claim = hold.claim();
    let znode = Record::new(&claim.path, &claim.acl);
    let found = if is_known { Some(hold.known().clone()) } else { znode.read(session).await? };
    // What is over is never taken back, also where nobody else has it.
    if let Some(end) = hold.ended() {
        return Ok(Some(end));
    }
    let sent = Moment::now();
    let wall = clock::wall();
    let decide = |found: Option<(LockRecord, &zk::Stat)>| {
        Ok(match ours(hold, found.map(|(record, _)| record)) {
            Ok(record) => {
                let next = steps::renewed(&record, claim.duration, Some(hold.token()), &wall);
                Decision::Write(next.clone(), Ok(next))
            }
            Err(end) => Decision::Keep(Err(end)),
        })
    };
    match znode.update_from(session, unacknowledged, found, decide).await {
        Ok((Ok(next), Some(stat))) => {
            let is_in_time = hold.renewed(sent);
            *hold.known() = (next.encode(), stat);
            Ok(if is_in_time { None } else { hold.ended() })
        }
        Ok((Err(end), _)) => Ok(Some(end)),
        Ok((Ok(_), None)) => Err(Failure::Lost),
        Err(Failure::Final(Error::Argument { .. })) => Ok(Some(End::Overwritten)),
        Err(failure) => Err(failure),
    }
}

/// The record, if it is the hold's; otherwise how the hold has ended.
fn ours(hold: &Hold, record: Option<LockRecord>) -> std::result::Result<LockRecord, End> {
    match record {
        None => Err(End::Deleted),
        Some(record) if Whose::Hold { claim: hold.claim(), ends: hold.ends() }.is_it(&record) => Ok(record),
        Some(record) if record.is_free() => Err(End::Freed),
        Some(record) => Err(End::TakenOver(record.holder)),
    }
}

/// Who renews one hold.
struct Keeper {
    client: Client,
    hold: Hold,
}

impl Keeper {
    async fn renew_until_ended(&self, cancel: &Cancel) {
        let period = self.hold.0.pace.retry_period;
        let mut due = Moment::now().after(period);
        // What somebody has done to the record since it was taken is noticed at once, and not with the first renewal.
        let Ok(mut watch) = self.round(cancel, false).await else { return };
        loop {
            let fired = async {
                match &mut watch {
                    Some(watching) => drop(watching.await),
                    None => pending().await,
                }
            };
            let renews = tokio::select! {
                biased;
                () = clock::until(due) => true,
                () = fired => false,
            };
            if renews {
                due = Moment::now().after(period);
            }
            // The renewal itself fires the watch before it is acknowledged. One that was dropped before that would cost a
            // request, which takes it off the server.
            let Ok(next) = self.round(cancel, renews).await else { return };
            watch = next;
        }
    }

    /// Watches the record of a lease that is over by the clock, until it is known who has it, or the hold is given up.
    /// Nothing is written.
    async fn see_what_becomes_of_it(&self, cancel: &Cancel) {
        let hold = &self.hold;
        let connect_timeout = self.client.settings().connect_timeout;
        while hold.ended() == Some(End::Overdue) {
            let budget = Budget::waiting(Timeout::Forever, connect_timeout, cancel.child());
            let attempt = |session: Session| async move { read_and_watch(&session, hold).await };
            match self.client.attempts(&budget, &hold.claim().path, Outage::Outlasted, attempt).await {
                Ok(Ok((None, Some(watch)))) => drop(watch.await),
                Ok(Ok((Some(end), _))) => hold.end(&end),
                Ok(Ok((None, None)) | Err(_)) => tokio::time::sleep(hold.0.pace.retry_period).await,
                Err(_) => return,
            }
        }
    }

    /// Renews the hold, or only looks at its record, for as long as it lasts; tells where that takes longer than the renew
    /// deadline. The next watch; `Err` where the hold has ended, or the process ends.
    async fn round(&self, cancel: &Cancel, renews: bool) -> std::result::Result<Option<Watch>, ()> {
        let hold = &self.hold;
        let late = hold.ends().min(Moment::now().after(hold.0.pace.renew_deadline));
        let mut round = pin!(self.lasting(cancel, renews));
        let ended = tokio::select! {
            biased;
            ended = &mut round => ended,
            () = clock::until(late) => {
                if hold.ended().is_none() {
                    (hold.0.tell)(&hold.claim().hold, News::Late(self.refusal().clone()));
                }
                // The time of a round stands still while the machine is suspended; that of the lease does not.
                tokio::select! {
                    biased;
                    ended = round => ended,
                    () = over(hold) => Err(Cut::TimedOut),
                }
            }
        };
        match ended {
            Ok((None, watch)) => Ok(watch),
            Ok((Some(end), _)) => {
                hold.end(&end);
                Err(())
            }
            Err(Cut::TimedOut) => {
                hold.end(&End::Overdue);
                Err(())
            }
            Err(Cut::Cancelled) => Err(()),
        }
    }

    /// One attempt after the other, until one has an answer or the hold is over by the clock.
    async fn lasting(&self, cancel: &Cancel, renews: bool) -> std::result::Result<(Option<End>, Option<Watch>), Cut> {
        let (client, hold) = (&self.client, &self.hold);
        let left = hold.ends().since(Moment::now());
        let budget = Budget::waiting(Timeout::For(left), client.settings().connect_timeout, cancel.child());
        let _turn = budget.race(Deadline::NEVER, hold.0.turn.lock()).await?;
        let mut is_known = true;
        loop {
            let attempt = |session: Session| {
                let is_known = std::mem::replace(&mut is_known, false);
                async move {
                    if renews {
                        renew_and_watch(&session, hold, is_known).await
                    } else {
                        read_and_watch(&session, hold).await
                    }
                }
            };
            let path = &hold.claim().path;
            match client.attempts(&budget, path, Outage::Outlasted, attempt).await? {
                Ok(answer) => {
                    *self.refusal() = None;
                    return Ok(answer);
                }
                // The servers refuse: an ACL was changed, a quota is used up. That may change again while the lease lasts.
                Err(error) => {
                    *self.refusal() = Some(error.to_string());
                    budget.race(Deadline::NEVER, tokio::time::sleep(hold.0.pace.retry_period)).await?;
                }
            }
        }
    }

    fn refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.hold.0.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At the end of the process, or of its sessions: gives the lease back where it was told to.
    async fn at_the_end(&self, cancel: &Cancel) {
        if self.hold.0.pace.release_on_cancel && self.hold.ended().is_none() {
            let connect_timeout = self.client.settings().connect_timeout;
            let budget = Budget::change(Timeout::Once, connect_timeout, Cancel::default());
            let _ = self.hold.release(&self.client, &budget).await;
        }
        if cancel.by() == PROCESS_ENDS {
            self.hold.0.stop.cancel();
        } else {
            self.hold.end(&End::Unrenewed);
        }
    }
}

/// Renews the hold, and sets the next watch in the same flight.
async fn renew_and_watch(session: &Session, hold: &Hold, is_known: bool) -> Attempt<(Option<End>, Option<Watch>)> {
    let unacknowledged = Unacknowledged::new("");
    // The request for the watch is sent after that for the renewal, which would fire it.
    let watching = async { session.check_and_watch_stat(&hold.claim().path).await };
    let (end, watch) = join(write(session, hold, &unacknowledged, is_known), watching).await;
    let watch = watch.ok().map(|(_, watcher)| Box::pin(watcher.changed()) as Watch);
    end.map(|end| (end, watch))
}

/// Waits until the hold is over by the clock, however often it is renewed before that.
async fn over(hold: &Hold) {
    while hold.ended().is_none() {
        clock::until(hold.ends()).await;
    }
}

/// Looks whether the record is the hold's, and sets the next watch.
async fn read_and_watch(session: &Session, hold: &Hold) -> Attempt<(Option<End>, Option<Watch>)> {
    let path = &hold.claim().path;
    let refused = |error| session.failure(&error, "read", path);
    let found = or_missing(session.get_and_watch_data(path).await).map_err(refused)?;
    let found = match found {
        Some(found) => Some(found),
        // A server that lags behind does not know of its creation yet.
        None => {
            session.sync(path).await.map_err(refused)?;
            or_missing(session.get_and_watch_data(path).await).map_err(refused)?
        }
    };
    let Some((data, stat, watcher)) = found else {
        return Ok((Some(End::Deleted), None));
    };
    if stat.mzxid < hold.known().1.mzxid {
        // This server does not know yet what the hold has written. Its watch tells when it does.
        return Ok((None, Some(Box::pin(watcher.changed()))));
    }
    let Ok(record) = LockRecord::decode(path, &data) else {
        return Ok((Some(End::Overwritten), None));
    };
    match ours(hold, Some(record)) {
        // Somebody has written that it lasts for less, and may let another have it by that.
        Ok(record) if record.duration < hold.claim().duration => Ok((Some(End::Overwritten), None)),
        Ok(_) => {
            *hold.known() = (data, stat);
            Ok((None, Some(Box::pin(watcher.changed()))))
        }
        Err(end) => Ok((Some(end), None)),
    }
}
