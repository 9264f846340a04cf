//! One claim on its way to the lease, in one session.
//!
//! The steps, and what becomes of each when something goes wrong, are in the table of [`timed_lease`](super).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, select, Either};
use zookeeper_client as zk;

use super::claim::Claim;
use super::clock::{self, Moment};
use super::judge::{self, Sight, Stamp, Standing, Times, Verdict};
use super::lock_record::LockRecord;
use super::snapshot::{self, Snapshot};
use super::{names, steps};
use crate::children::or_missing;
use crate::path;
use crate::recipe::queue;
use crate::recipe::queue::contender::{Contender, Positions};
use crate::recipe::queue::order;
use crate::record::{Decision, Record, Stored};
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::deadline::Timeout;

/// The data and the stat of a record that is there, or was.
pub(super) type Found = Option<(Vec<u8>, zk::Stat)>;

/// A lease that a claim has taken, or has renewed by its owner's name.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The claim.
    pub claim: Arc<Claim>,
    /// The fencing token: the zxid of the transaction that took the lease. Later holders have greater ones.
    pub token: i64,
    /// How often the lease has changed hands.
    pub transitions: i64,
    /// A moment before the request was sent that took it: the lease lasts from then on.
    pub sent: Moment,
    /// Who held it before, whose lease was over.
    pub from: Option<String>,
    /// Whether this claim has taken it, and not renewed what its owner held already.
    pub is_new: bool,
    /// The record, as it is now.
    pub(super) known: (Vec<u8>, zk::Stat),
}

impl Taken {
    /// What is known of a lease that a claim turned out to have.
    pub(super) fn from_record(
        claim: Arc<Claim>,
        record: &LockRecord,
        known: (Vec<u8>, zk::Stat),
        progress: &Progress,
    ) -> Self {
        Self {
            claim,
            token: steps::token(record, known.1.mzxid).unwrap_or(known.1.mzxid),
            transitions: record.transitions,
            sent: progress.sent_for(known.1.version),
            from: progress.from.clone(),
            is_new: true,
            known,
        }
    }

    /// Until when it is held.
    #[must_use]
    pub fn ends(&self) -> Moment {
        self.sent.after(self.claim.duration)
    }

    /// Whether it is over already: its reply took longer than it lasts.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ends() <= Moment::now()
    }
}

/// How contending ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// The claim has the lease.
    Taken(Taken),
    /// Somebody else has it, or is before this claim, and the caller does not wait.
    Held,
}

/// What is known of a claim beyond the life of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// A write that takes the lease was sent, and its outcome is not known: the version that it needs. `None` within: the
    /// record must not be there.
    pub(super) in_flight: Option<Option<i32>>,
    /// A moment before the first of those that are in flight was sent.
    sent: Option<Moment>,
    /// Whose lease it takes over.
    from: Option<String>,
    /// Since when the record has been the same.
    sight: Option<Sight>,
    /// The lease was not to be had at once.
    queues: bool,
}

impl Progress {
    /// The moment from which a lease counts that was found with the claim's name in it, at this version. It is the start of
    /// time where no request is known to have led to that version: one that is in flight still has not.
    fn sent_for(&self, version: i32) -> Moment {
        let is_in_flight = self.in_flight == Some(Some(version));
        self.sent.filter(|_| !is_in_flight).unwrap_or(Moment(Duration::ZERO))
    }

    /// Nothing is in flight any more.
    fn is_settled(&mut self) {
        self.in_flight = None;
        self.sent = None;
    }
}

/// A claim that contends for its lease.
#[derive(Debug)]
pub(super) struct Contest {
    session: Session,
    claim: Arc<Claim>,
    queue: String,
    contender: Contender,
    pub(super) progress: Progress,
    stamp: Option<Stamp>,
    /// What a server shows may be older than what was done.
    is_stale: bool,
}

impl Contest {
    pub(super) fn new(session: Session, claim: Arc<Claim>, progress: Progress, positions: Option<Positions>) -> Self {
        let (queue, owner, acl) = (names::queue(&claim.path), Arc::from(claim.owner.as_str()), claim.acl.clone());
        let contender = Contender::new(session.clone(), queue.clone(), owner, acl, positions);
        // A session that comes after another may have another server.
        let is_stale = progress.in_flight.is_some();
        Self { session, claim, queue, contender, progress, stamp: None, is_stale }
    }

    pub(super) fn is_in(&self, session: &Session) -> bool {
        self.session.id() == session.id()
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The queue node, which has to be given up.
    pub(super) fn into_contender(self) -> Contender {
        self.contender
    }

    /// Contends until the lease is taken, or, for a caller that tries once, is seen not to be had.
    pub(super) async fn contend(&mut self, timeout: Timeout, waits: &AtomicBool) -> Attempt<Outcome> {
        loop {
            match self.round(timeout, waits).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {}
                Err(failure) => {
                    self.contender.has_lost_a_reply();
                    self.is_stale = true;
                    return Err(failure);
                }
            }
        }
    }

    /// Reads the record and its queue once, and acts on that. `None`: they have to be read again.
    async fn round(&mut self, timeout: Timeout, waits: &AtomicBool) -> Attempt<Option<Outcome>> {
        let Some(snapshot) = self.observe().await? else {
            return Ok(None);
        };
        let record = snapshot.record(&self.claim.path).map_err(Failure::Final)?;
        let standing = self.judge(record.as_ref(), &snapshot.found);
        match (standing, snapshot.found) {
            (Standing::Taken, Some(known)) => return self.taken_before(record, known).await.map(Some),
            (Standing::OwnByName, Some(known)) => return self.renew_by_name(known).await,
            (Standing::Free, found) if !self.progress.queues && !has_waiters(&snapshot.queue) => {
                return self.take(found, None).await.map(Some);
            }
            _ if !self.progress.queues => {
                if timeout == Timeout::Once && has_waiters(&snapshot.queue) {
                    return Ok(Some(Outcome::Held));
                }
                self.progress.queues = true;
                return Ok(None);
            }
            (Standing::Free, found) => {
                let Some(position) = self.contender.standing(&snapshot.queue)? else { return Ok(None) };
                self.contender.tell(&snapshot.queue);
                if position == order::Standing::First {
                    return self.take(found, None).await.map(Some);
                }
            }
            _ => {}
        }
        let predecessor = match self.contender.standing(&snapshot.queue)? {
            None => return Ok(None),
            Some(order::Standing::Behind { predecessor }) => Some(predecessor.to_owned()),
            Some(order::Standing::First | order::Standing::Absent) => None,
        };
        self.contender.tell(&snapshot.queue);
        // Else each of all waiters would keep the names of all waiters while it waits.
        drop(snapshot.queue);
        match predecessor {
            Some(_) if timeout == Timeout::Once => Ok(Some(Outcome::Held)),
            Some(predecessor) => {
                waits.store(true, Ordering::Relaxed);
                self.contender.watch(&predecessor).await.map(|()| None)
            }
            None => self.outlast(timeout, waits).await,
        }
    }

    /// Reads the record and its queue; enters the queue first where the lease was not to be had at once.
    async fn observe(&mut self) -> Attempt<Option<Snapshot>> {
        let read = || snapshot::read(&self.session, &self.claim.path, &self.queue);
        if !self.progress.queues {
            let is_stale = std::mem::take(&mut self.is_stale);
            let synced = async {
                if is_stale {
                    self.session.sync(&self.claim.path).await
                } else {
                    Ok(())
                }
            };
            let (synced, snapshot) = join(synced, async { read().await }).await;
            synced.map_err(|error| self.session.failure(&error, "read", &self.claim.path))?;
            return snapshot.map(Some);
        }
        if let Some(snapshot) = self.contender.observe(read).await? {
            return Ok(Some(snapshot));
        }
        let unacknowledged = Unacknowledged::new("");
        let acls = self.claim.acl.of_new_znode();
        let parents = self.session.make_parents(path::parents(&self.claim.path), acls, &unacknowledged);
        let read = || snapshot::read(&self.session, &self.claim.path, &self.queue);
        match self.contender.enter(Some(parents), read).await? {
            Some(snapshot) => Ok(Some(snapshot)),
            // The queue was created in that very flight: somebody removes it as fast.
            None => Err(self.session.failure(&zk::Error::NoNode, "create", &self.queue)),
        }
    }

    /// How the lease stands to the claim; notes what was seen.
    fn judge(&mut self, record: Option<&LockRecord>, found: &Found) -> Standing {
        let now = Moment::now();
        self.progress.sight = found.as_ref().map(|(_, stat)| Sight::of(self.progress.sight, stat.mzxid, now));
        let standing = judge::standing(record, &self.claim);
        let version = found.as_ref().map(|(_, stat)| stat.version);
        // A write that needs an earlier version cannot come any more.
        if standing != Standing::Taken && self.progress.in_flight.is_some_and(|needed| needed != version) {
            self.progress.is_settled();
        }
        standing
    }

    /// Waits, as the first in the queue, until the lease of another is over, and takes it. `None`: the record and the queue
    /// have to be read again, because the record is not held by another any more, or the queue node is gone.
    async fn outlast(&mut self, timeout: Timeout, waits: &AtomicBool) -> Attempt<Option<Outcome>> {
        let Some(node) = self.contender.node().map(|name| self.contender.path(name)) else {
            return Ok(None);
        };
        let Self { session, claim, contender, progress, stamp, .. } = self;
        let mut end = End::ReadAgain;
        let waiting = async {
            loop {
                let read = session.get_and_watch_data(&claim.path).await;
                let refused = |error| session.failure(&error, "read", &claim.path);
                let Some((data, stat, watcher)) = or_missing(read).map_err(refused)? else { return Ok(()) };
                let now = Moment::now();
                let record = LockRecord::decode(&claim.path, &data).map_err(Failure::Final)?;
                let sight = Sight::of(progress.sight, stat.mzxid, now);
                progress.sight = Some(sight);
                if judge::standing(Some(&record), claim) != Standing::Held {
                    return Ok(());
                }
                let times = Times {
                    duration: record.duration,
                    sight,
                    modified: stat.mtime,
                    renewed: record.renewed_since_epoch(),
                    stamp: *stamp,
                    wall: clock::since_epoch(),
                    now,
                };
                match judge::verdict(claim.rule, &times) {
                    Verdict::Over => {
                        end = End::Take(data, stat, record.holder);
                        return Ok(());
                    }
                    Verdict::AskServers => {
                        *stamp = Some(ask(session, &node, claim.owner.as_bytes(), stamp.is_none()).await?);
                    }
                    Verdict::In(_) if timeout == Timeout::Once => {
                        end = End::Held;
                        return Ok(());
                    }
                    Verdict::In(left) => {
                        waits.store(true, Ordering::Relaxed);
                        let changed = std::pin::pin!(watcher.changed());
                        let over = std::pin::pin!(clock::until(now.after(left)));
                        match select(changed, over).await {
                            Either::Left((event, _)) if event.event_type == zk::EventType::Session => {
                                return Err(Failure::Gone)
                            }
                            Either::Left(_) | Either::Right(_) => {}
                        }
                    }
                }
            }
        };
        contender.while_queued(waiting).await?;
        match end {
            End::ReadAgain => Ok(None),
            End::Held => Ok(Some(Outcome::Held)),
            End::Take(data, stat, from) => self.take(Some((data, stat)), Some(from)).await.map(Some),
        }
    }

    /// The record has the claim's own name in it: the reply was lost, and the lease is the claim's. Where it is over by now,
    /// or where its record is from before the request that is in flight, it is taken again.
    async fn taken_before(&mut self, record: Option<LockRecord>, known: (Vec<u8>, zk::Stat)) -> Attempt<Outcome> {
        let found = record.map(|record| Taken::from_record(self.claim.clone(), &record, known.clone(), &self.progress));
        match found.filter(|taken| !taken.is_over()) {
            Some(taken) => Ok(Outcome::Taken(taken)),
            None => {
                if self.progress.in_flight != Some(Some(known.1.version)) {
                    self.progress.is_settled();
                }
                let from = self.progress.from.clone();
                self.take(Some(known), from).await
            }
        }
    }

    /// Writes the record that says that this claim has the lease, over the one that was found; again, where the lease was
    /// over before the reply came.
    async fn take(&mut self, found: Found, from: Option<String>) -> Attempt<Outcome> {
        let claim = self.claim.clone();
        self.progress.from = from;
        let mut found = found;
        loop {
            let record = found.as_ref().map(|(data, _)| LockRecord::decode(&claim.path, data));
            let record = record.transpose().map_err(Failure::Final)?;
            let next = steps::taken(record.as_ref(), &claim, &clock::wall());
            let before = self.progress.in_flight.replace(found.as_ref().map(|(_, stat)| stat.version));
            let sent = Moment::now();
            self.progress.sent.get_or_insert(sent);
            let written = match (found, self.contender.node()) {
                (Some((_, stat)), Some(node)) => self.exchange(node.to_owned(), &stat, &next).await,
                (found, _) => self.write(found, &next).await,
            };
            let known = match written {
                Ok(known) => known,
                Err((failure, is_in_flight)) => {
                    if !is_in_flight {
                        self.progress.in_flight = before;
                        if before.is_none() {
                            self.progress.sent = None;
                        }
                    }
                    return Err(failure);
                }
            };
            let taken = self.taken(&next, known, sent, true);
            if !taken.is_over() {
                return Ok(Outcome::Taken(taken));
            }
            found = Some(taken.known);
        }
    }

    /// Renews the lease that the claim's owner holds by name. Where the reply is lost, or comes when the lease is over, it
    /// is renewed again. It is not made shorter: another process of the owner may count on what it has been promised.
    async fn renew_by_name(&mut self, known: (Vec<u8>, zk::Stat)) -> Attempt<Option<Outcome>> {
        let record = LockRecord::decode(&self.claim.path, &known.0).map_err(Failure::Final)?;
        let token = steps::token(&record, known.1.mzxid);
        let duration = self.claim.duration.max(record.duration);
        let next = steps::named(steps::renewed(&record, duration, token, &clock::wall()), known.1.mzxid);
        let sent = Moment::now();
        let known = self.write(Some(known), &next).await.map_err(|(failure, _)| failure)?;
        let taken = self.taken(&next, known, sent, false);
        Ok(if taken.is_over() { None } else { Some(Outcome::Taken(taken)) })
    }

    /// Writes a record over the one that was found: it, and its stat. The failure comes with whether the write is in
    /// flight.
    async fn write(&self, found: Found, next: &LockRecord) -> Result<(Vec<u8>, zk::Stat), (Failure, bool)> {
        let unacknowledged = Unacknowledged::new("");
        let record = Record::new(&self.claim.path, &self.claim.acl);
        let decide = |_: Option<(LockRecord, &zk::Stat)>| Ok(Decision::Write(next.clone(), ()));
        match record.update_from(&self.session, &unacknowledged, found, decide).await {
            Ok(((), Some(stat))) => Ok((next.encode(), stat)),
            Ok(((), None)) => Err((Failure::Lost, true)),
            Err(failure) => Err((failure, unacknowledged.is_any())),
        }
    }

    /// As [`Contest::write`], and deletes the queue node in the same transaction: a holder that dies right after it leaves
    /// nothing in the queue that would hold up the next.
    async fn exchange(
        &mut self,
        node: String,
        found: &zk::Stat,
        next: &LockRecord,
    ) -> Result<(Vec<u8>, zk::Stat), (Failure, bool)> {
        let (path, data, node) = (&self.claim.path, next.encode(), self.contender.path(&node));
        let unacknowledged = Unacknowledged::new("");
        let mut transaction = self.session.writes(&unacknowledged).transaction();
        let built =
            transaction.set_data(path, &data, Some(found.version)).and_then(|()| transaction.delete(&node, None));
        built.map_err(|error| (self.session.failure(&error, "write", path), false))?;
        match transaction.commit().await {
            Ok(results) => {
                self.contender.has_left();
                match results.into_iter().next() {
                    Some(zk::MultiWriteResult::SetData { stat }) => Ok((data, stat)),
                    // It is done. The record tells the rest when it is read again.
                    _ => Err((Failure::Lost, true)),
                }
            }
            // The record or the queue node is another by now.
            Err(error) if error.is_outdated() => Err((Failure::Lost, false)),
            Err(error) => Err((self.session.not_committed(&error), unacknowledged.is_any())),
        }
    }

    /// What an acknowledged write has taken or renewed, which was sent after this moment.
    fn taken(&mut self, record: &LockRecord, known: (Vec<u8>, zk::Stat), sent: Moment, is_new: bool) -> Taken {
        self.progress.is_settled();
        Taken { is_new, sent, ..Taken::from_record(self.claim.clone(), record, known, &self.progress) }
    }
}

/// How a wait for the end of another's lease ended.
enum End {
    ReadAgain,
    Held,
    Take(Vec<u8>, zk::Stat, String),
}

fn has_waiters(queue: &[String]) -> bool {
    queue.iter().any(|name| queue::names::sequence(name).is_some())
}

/// Asks for the servers' clock: when the queue node was made, which costs a read; or a new stamp on it, which costs a
/// write. Where it is gone, its own watch tells. Where its ACL forbids to write it, one's own clock has to do.
async fn ask(session: &Session, node: &str, data: &[u8], is_first: bool) -> Attempt<Stamp> {
    let stamped = if is_first {
        session.check_stat(node).await.map(|stat| stat.map(|stat| stat.ctime))
    } else {
        let unacknowledged = Unacknowledged::new("");
        match session.writes(&unacknowledged).set_data(node, data, None).await {
            Err(zk::Error::NoAuth) => Ok(None),
            stamped => or_missing(stamped).map(|stat| stat.map(|stat| stat.mtime)),
        }
    };
    let action = if is_first { "read" } else { "write" };
    let milliseconds = stamped.map_err(|error| session.failure(&error, action, node))?.unwrap_or(0);
    Ok(Stamp { milliseconds, at: Moment::now() })
}
