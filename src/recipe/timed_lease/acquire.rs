//! Acquiring a lease, and what a caller is told.

use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, Mutex};
use zookeeper_client as zk;

use super::claim::Claim;
use super::contest::{Contest, Found, Outcome, Progress, Taken};
use super::judge::{self, Standing};
use super::lock_record::LockRecord;
use super::release::{release, Whose};
use super::{clock, steps};
use crate::client::{Client, Outage};
use crate::error::{Error, Result};
use crate::recipe::queue;
use crate::recipe::queue::contender::{Contender, Positions};
use crate::record::{Decision, Record, Stored};
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::deadline::{Deadline, Timeout};
use crate::wait::{Budget, Cancel, Cut};

/// How long a caller who gave up waits until its queue node is deleted, and until it is known what it holds.
const GRACE: Duration = Duration::from_secs(1);

/// What a caller who gave up has left behind.
const UNTAKEN: &str = "this call took no lease, and left no queue node";
const UNTIDIED: &str =
    "this call took no lease; its queue node is deleted when there is a connection, or by the servers with its session";
const UNRESOLVED: &str =
    "the lease may be held; it is given back as soon as a server answers, and ends by the clock in any case";

/// Waits for the lease of the claim, and takes it. `None`: the time was up.
///
/// `positions` is given the position in the queue whenever it is seen to change: 1 is next. The time in `budget` is for
/// everything together. A budget for trying once waits for the answers of the servers, but for no other holder or waiter.
///
/// # Errors
/// [`Error::Argument`] where the znode holds no record of a lease; [`Error::NoAuth`], [`Error::AuthFailed`],
/// [`Error::NoTicket`], [`Error::Tls`], [`Error::Unreachable`]; [`Error::ConnectionLost`] where at the end no server could
/// say whether the lease was taken; [`Error::Cancelled`]; [`Error::Server`].
///
/// # Cancellation
/// The queue node is deleted, and a lease that was taken meanwhile is given back, for up to a second before the error is
/// returned and in the background after that. Where the future is dropped, the queue node is deleted in the background.
///
/// # Lost connection
/// It is waited for while the time lasts, and the queue node stays where it is. If the session expires, the servers remove
/// the queue node: the wait goes on at the end of the queue, with the time that remains, and with what was seen of the
/// record so far.
///
/// # Source
/// leaselocker, and the leader election of Kubernetes' client-go, whose record this is; the queue is that of kazoo's lock.
pub async fn acquire(
    client: &Client,
    claim: Claim,
    budget: &Budget,
    positions: Option<Positions>,
) -> Result<Option<Taken>> {
    let client = &client.watching(watched_bytes(&claim.path));
    let claim = Arc::new(claim);
    let kept: Mutex<Option<Contest>> = Mutex::new(None);
    let waits = AtomicBool::new(false);
    let attempt = |session: Session| {
        let (kept, claim, positions, waits) = (&kept, &claim, &positions, &waits);
        async move {
            let mut kept = kept.lock().await;
            let contest = match kept.take() {
                Some(contest) if contest.is_in(&session) => kept.insert(contest),
                before => {
                    let progress = before.map(|contest| contest.progress.clone()).unwrap_or_default();
                    kept.insert(Contest::new(session, claim.clone(), progress, positions.clone()))
                }
            };
            contest.contend(budget.timeout(), waits).await
        }
    };
    let end = client.attempts(budget, &claim.path, Outage::OutlastedFrom(&waits), attempt).await;
    let Some(contest) = kept.into_inner() else {
        return match end {
            Ok(Err(error)) => Err(error),
            Err(Cut::Cancelled) => Err(client.cancelled(budget, &claim.path, UNTAKEN)),
            Ok(Ok(_)) | Err(Cut::TimedOut) => Err(client.unreachable(budget.elapsed())),
        };
    };
    if let Ok(Ok(Outcome::Taken(taken))) = end {
        drop(leaving(client, contest.into_contender()));
        return Ok(Some(taken));
    }
    settle(client, contest, budget, &claim, end).await
}

/// Bytes of what a claim watches at one time: its own queue node, and the one before it or, as the first, the record.
fn watched_bytes(path: &str) -> usize {
    2 * (path.len() + queue::names::NODE_SUFFIX)
}

/// Gives the queue node up, in the background. The answer: it is gone.
fn leaving(client: &Client, contender: Contender) -> oneshot::Receiver<Attempt<()>> {
    let (sender, receiver) = oneshot::channel();
    if contender.is_outside() {
        let _ = sender.send(Ok(()));
        return receiver;
    }
    client.clone().in_background(|cancel| async move {
        tokio::select! {
            left = contender.withdraw() => drop(sender.send(left)),
            () = cancel.cancelled() => {}
        }
    });
    receiver
}

/// The answer for a caller whose wait has ended otherwise than with the lease: leaves the queue first, and gives back a
/// lease that nobody wants any more.
async fn settle(
    client: &Client,
    contest: Contest,
    budget: &Budget,
    claim: &Arc<Claim>,
    end: std::result::Result<Result<Outcome>, Cut>,
) -> Result<Option<Taken>> {
    let path = &claim.path;
    let (in_flight, is_connected) = (contest.progress.in_flight, contest.session().is_connected());
    let progress = contest.progress.clone();
    let grace = if is_connected { GRACE } else { Duration::ZERO };
    let has_left = match tokio::time::timeout(grace, leaving(client, contest.into_contender())).await {
        Ok(Ok(left)) => Some(left),
        Ok(Err(_)) | Err(_) => None,
    };
    let is_cancelled = matches!(end, Ok(Err(Error::Cancelled { .. })) | Err(Cut::Cancelled));
    if let Some(version) = in_flight {
        let wants = !is_cancelled && !matches!(end, Ok(Err(_)));
        let settled = settled(client, claim.clone(), version, progress, wants, grace).await;
        match settled {
            None => return Err(client.connection_lost(path, UNRESOLVED)),
            Some(Some(taken)) => return Ok(Some(taken)),
            Some(None) => {}
        }
    }
    match (end, has_left) {
        (Ok(Err(Error::Cancelled { .. })) | Err(Cut::Cancelled), Some(_)) => {
            Err(client.cancelled(budget, path, UNTAKEN))
        }
        (Ok(Err(Error::Cancelled { .. })) | Err(Cut::Cancelled), None) => Err(client.cancelled(budget, path, UNTIDIED)),
        (Ok(Err(error)), _) => Err(error),
        (_, Some(Err(Failure::Final(error)))) => Err(error),
        (Ok(Ok(_)), _) => Ok(None),
        (Err(Cut::TimedOut), Some(Ok(()))) if is_connected => Ok(None),
        (Err(Cut::TimedOut), _) => Err(client.unreachable(budget.elapsed())),
    }
}

/// What became of a write that was to take the lease, and needed this version: `Some(None)` where it was not carried out,
/// and cannot be any more. Where the caller does not want the lease it is given back. `None`: that is found out, and the
/// lease given back, in the background.
async fn settled(
    client: &Client,
    claim: Arc<Claim>,
    version: Option<i32>,
    progress: Progress,
    wants: bool,
    grace: Duration,
) -> Option<Option<Taken>> {
    let (sender, mut receiver) = oneshot::channel();
    let settling = client.clone();
    client.clone().in_background(|cancel| async move {
        let budget = Budget::waiting(Timeout::Forever, Duration::MAX, cancel);
        let found = find(&settling, &claim, version, &progress, &budget).await;
        let Ok(found) = found else { return };
        let wanted = match found {
            Some(taken) if wants && !taken.is_over() => {
                sender.send(Ok(Some(taken))).err().and_then(std::result::Result::ok).flatten()
            }
            Some(taken) => {
                let released = give_back(&settling, &taken, &budget).await;
                let _ = sender.send(released.map(|()| None));
                return;
            }
            None => {
                let _ = sender.send(Ok(None));
                return;
            }
        };
        if let Some(taken) = wanted {
            let _ = give_back(&settling, &taken, &budget).await;
        }
    });
    let settled = tokio::time::timeout(grace, &mut receiver).await;
    // From here on the task in the background has nobody to hand the lease to, and gives it back.
    receiver.close();
    let settled = match settled {
        Ok(settled) => settled.ok()?,
        Err(_) => receiver.try_recv().ok()?,
    };
    settled.ok()
}

async fn find(
    client: &Client,
    claim: &Arc<Claim>,
    version: Option<i32>,
    progress: &Progress,
    budget: &Budget,
) -> Result<Option<Taken>> {
    let attempt = |session: Session| async move { find_in(&session, claim, version, progress).await };
    match client.attempts(budget, &claim.path, Outage::Outlasted, attempt).await {
        Ok(found) => found,
        Err(_) => Err(client.connection_lost(&claim.path, UNRESOLVED)),
    }
}

async fn find_in(
    session: &Session,
    claim: &Arc<Claim>,
    version: Option<i32>,
    progress: &Progress,
) -> Attempt<Option<Taken>> {
    let unacknowledged = Unacknowledged::new("");
    let znode = Record::new(&claim.path, &claim.acl);
    let found: Found = znode.read(session).await?;
    let record = found.as_ref().map(|(data, _)| LockRecord::decode(&claim.path, data));
    let record = record.transpose().map_err(Failure::Final)?;
    match (judge::standing(record.as_ref(), claim), &found, &record) {
        (Standing::Taken, Some(known), Some(record)) => {
            return Ok(Some(Taken::from_record(claim.clone(), record, known.clone(), progress)));
        }
        _ if found.as_ref().map(|(_, stat)| stat.version) != version => return Ok(None),
        _ => {}
    }
    // The write may still come. Another one takes its version away: of the two only one can be carried out. A lease that
    // is over, and that the claim might have taken, is given back with it: to renew it would let others wait anew.
    let free = match record {
        Some(record) if !record.is_free() => steps::released(&record, &clock::wall()),
        record => record.unwrap_or_default(),
    };
    let decide = |_: Option<(LockRecord, &zk::Stat)>| Ok(Decision::Write(free.clone(), ()));
    znode.update_from(session, &unacknowledged, found, decide).await.map(|_| None)
}

async fn give_back(client: &Client, taken: &Taken, budget: &Budget) -> Result<()> {
    let whose = Whose::Hold { claim: &taken.claim, ends: taken.ends() };
    release(client, &whose, &taken.claim.path, &taken.claim.acl, None, budget).await.map(drop)
}

/// Gives a lease back that was taken for a caller who was interrupted `by` something at that moment: the error that the
/// caller gets in its place. A lease that its owner had by name before stays.
///
/// # Cancellation
/// It takes a second at most. A lease that could not be given back by then ends by the clock.
pub async fn undo(client: &Client, taken: &Taken, by: &'static str) -> Error {
    let path = taken.claim.path.clone();
    if !taken.is_new {
        return Error::Cancelled { path, by, consequence: "the lease that was held before was renewed" };
    }
    let short = Budget::answer(Timeout::For(GRACE), GRACE, Cancel::default());
    match short.race(Deadline::NEVER, give_back(client, taken, &short)).await {
        Ok(Ok(())) => Error::Cancelled { path, by, consequence: "the lease that was taken was given back" },
        Ok(Err(_)) | Err(_) => client.connection_lost(&path, "the lease may be held; it ends by the clock"),
    }
}
