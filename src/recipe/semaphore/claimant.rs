//! One claim on its way through the queue to a lease, in one session.
//!
//! The steps, and what becomes of each when something goes wrong, are in the table of [`semaphore`](super).

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use futures::future::{join, select, BoxFuture, Either};
use zookeeper_client as zk;

use super::claim::{Claim, Terms};
use super::hold::{Hold, Of};
use super::lease::{self, OtherLeases, OwnLeases};
use super::limit::Limit;
use super::names;
use super::pool::{self, Snapshot};
use super::reason::Reason;
use super::take::{exchange, Exchange, Exchanged};
use crate::children::or_missing;
use crate::error::Error;
use crate::path;
use crate::recipe::queue;
use crate::recipe::queue::contender::{Contender, Positions};
use crate::recipe::queue::order::Standing;
use crate::session::{Attempt, Failure, Session, Unacknowledged, PAUSE};
use crate::wait::deadline::Timeout;

/// Beyond so many removals of the pool just when it was made, its parent cannot be created.
const MOST_REMOVALS: u32 = 20;

/// How contending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The claim has its lease: the lease's czxid, where it was asked for.
    Taken(Option<i64>),
    /// The identifier had a lease before.
    Already,
    /// There is no free slot now, and the caller does not wait.
    Full,
}

/// What a claimant leaves behind when it has withdrawn. The queue node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawal {
    /// No lease.
    NoLease,
    /// The lease, which was taken before: its czxid.
    Lease(Option<i64>),
}

/// A transaction for the lease that was sent, and whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum InFlight {
    /// It exchanges this queue node for the lease. Whoever deletes the queue node proves that there is no lease.
    Exchange(String),
    /// It creates the pool. There is no queue node to delete, so its outcome cannot be proved by deleting one.
    PoolCreation,
}

/// What is known of a claim beyond the life of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    in_flight: Option<InFlight>,
    /// The name that the lease gets, in whichever session it is taken.
    lease: Option<String>,
    /// The limit asked for was the pool's when the wait began; a change since then is obeyed.
    admitted: bool,
}

impl Progress {
    /// Whether the lease may have been taken.
    pub(super) fn is_unsure(&self) -> bool {
        self.in_flight.is_some()
    }
}

/// A claim that contends for a slot.
#[derive(Debug)]
pub(super) struct Claimant {
    contender: Contender,
    session: Session,
    claim: Arc<Claim>,
    queue: String,
    lease: String,
    /// Why the slot is wanted, unless the ACL forbids to keep it.
    reason: Option<Reason>,
    progress: Progress,
    /// The lease is there, and the caller is told so.
    is_taken: bool,
    /// How often somebody has removed the pool just when it was made.
    removals: u32,
    /// Whether to take a slot whether one is free or not.
    force: bool,
    /// The writes that no server has answered. What became of them is read from the pool, by the name of the lease.
    unacknowledged: Unacknowledged,
    /// A watch that did not fire. Dropping it sends a request, which must not come before one that somebody waits for.
    unfired: Option<Box<dyn Any + Send + Sync>>,
}

impl Claimant {
    /// A claimant in a new session; `progress` is what is known of the claim from sessions before.
    pub(super) fn new(
        session: Session,
        claim: Arc<Claim>,
        mut progress: Progress,
        positions: Option<Positions>,
        force: bool,
    ) -> Self {
        if claim.ephemeral {
            // The servers have removed what an earlier session took.
            progress.in_flight = None;
        }
        // A persistent lease that an earlier session asked for must be told from that of another contender.
        let known = progress.lease.take().filter(|_| !claim.ephemeral);
        let lease = known.unwrap_or_else(|| names::lease(&claim.owner(session.id())));
        progress.lease = Some(lease.clone());
        let queue = queue::names::queue(&claim.pool);
        let (data, reason) = (claim.identifier.as_str().into(), claim.reason.clone());
        Self {
            contender: Contender::new(session.clone(), queue.clone(), data, claim.acl.clone(), positions),
            session,
            claim,
            queue,
            lease,
            reason,
            progress,
            is_taken: false,
            removals: 0,
            force,
            unacknowledged: Unacknowledged::new(""),
            unfired: None,
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the claimant contends in this session.
    pub(super) fn is_in(&self, session: &Session) -> bool {
        self.session.id() == session.id()
    }

    /// The claim's lease, as the hold that it is once it is there.
    pub(super) fn hold(&self, czxid: Option<i64>) -> Hold {
        Hold {
            of: Of::Pool,
            pool: self.claim.pool.clone(),
            identifier: self.claim.identifier.clone(),
            lease: self.lease.clone(),
            czxid,
            session: self.session.id(),
            ephemeral: self.claim.ephemeral,
            has_liveness_node: self.claim.terms == Terms::Kept,
            has_reason_node: self.reason.is_some(),
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Whether nothing is left to withdraw: no queue node, and no lease that may still come.
    pub(super) fn is_settled(&self) -> bool {
        self.contender.is_outside() && !self.progress.is_unsure()
    }

    /// Contends until the lease is there, or the caller does not wait any more. It may be dropped at any point;
    /// [`Claimant::withdraw`] then tells what has become of it. After [`Failure::Lost`] it is called again.
    /// `waits` becomes true when it waits for others.
    pub(super) async fn contend(&mut self, timeout: Timeout, waits: &AtomicBool) -> Attempt<Outcome> {
        loop {
            match self.round(timeout, waits).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {}
                Err(failure) => {
                    if matches!(failure, Failure::Lost) {
                        self.contender.has_lost_a_reply();
                    }
                    return Err(failure);
                }
            }
        }
    }

    /// Reads the queue and the pool once, and acts on that. `None`: they have to be read again.
    async fn round(&mut self, timeout: Timeout, waits: &AtomicBool) -> Attempt<Option<Outcome>> {
        let read = || pool::read(&self.session, &self.claim, &self.queue);
        let Some(snapshot) = self.contender.observe(read).await? else {
            return self.create_pool().await;
        };
        let Some(standing) = self.contender.standing(&snapshot.queue)? else {
            return Ok(None);
        };
        let first = standing == Standing::First;
        if first || !self.progress.admitted || self.progress.is_unsure() {
            if self.progress.is_unsure() && snapshot.leases.contains(&self.lease) {
                let lease = self.claim.path(&self.lease);
                return match self.session.check_stat(&lease).await {
                    Ok(stat) => Ok(stat.map(|stat| self.taken(Some(stat.czxid)))),
                    Err(zk::Error::NoAuth) => Ok(Some(self.taken(None))),
                    Err(error) => Err(self.session.failure(&error, "read", &lease)),
                };
            }
            match lease::own(&self.session, &self.claim, &snapshot.leases, &snapshot.queue).await? {
                OwnLeases::Sufficient => return Ok(Some(Outcome::Already)),
                OwnLeases::Others(others) => return self.take(&snapshot, &others).await,
                // While the queue node is there the transaction may still come.
                OwnLeases::None => {
                    let is_over = |in_flight: &mut InFlight| match in_flight {
                        InFlight::Exchange(node) => !snapshot.queue.contains(node),
                        InFlight::PoolCreation => true,
                    };
                    drop(self.progress.in_flight.take_if(is_over));
                }
            }
        }
        let alone = OtherLeases::default();
        if self.claim.limit.is_none() && !self.progress.admitted {
            self.check_limit(&snapshot)?;
        }
        if self.force {
            return self.take(&snapshot, &alone).await;
        }
        if !self.progress.admitted {
            self.check_limit(&snapshot)?;
            self.progress.admitted = true;
        }
        self.contender.tell(&snapshot.queue);
        let predecessor = match standing {
            Standing::First if snapshot.has_room(0, self.claim.limit) => return self.take(&snapshot, &alone).await,
            // A caller who tries once still waits for those who are about to take a slot and leave one over.
            _ if timeout == Timeout::Once && !self.will_have_room(&snapshot) => return Ok(Some(Outcome::Full)),
            Standing::Behind { predecessor } => Some(predecessor.to_owned()),
            Standing::First | Standing::Absent => None,
        };
        // Else each of all waiters would keep the names of all waiters while it waits.
        drop(snapshot);
        if !waits.swap(true, Ordering::Relaxed) {
            log::info!("waits for a slot of {}", self.claim.pool);
        }
        match predecessor {
            Some(predecessor) => self.contender.watch(&predecessor).await,
            None => self.watch_pool().await,
        }
        .map(|()| None)
    }

    /// Creates the pool with the lease in it. Where others have begun to, creates what is missing of the pool and the
    /// queue, and enters the queue.
    async fn create_pool(&mut self) -> Attempt<Option<Outcome>> {
        if self.claim.limit.is_none() {
            return self.create_queue().await;
        }
        let before = self.progress.in_flight.replace(InFlight::PoolCreation);
        self.expect_lease();
        match pool::create(&self.session, &self.claim, &self.queue, &self.lease, &self.unacknowledged).await {
            Ok(Some(czxid)) => return Ok(Some(self.taken(czxid))),
            Ok(None) => self.lease_is_refused(before),
            Err(failure) => {
                if matches!(failure, Failure::Final(_)) {
                    self.lease_is_refused(before);
                }
                return Err(failure);
            }
        }
        let read = || pool::read(&self.session, &self.claim, &self.queue);
        let before = missing_pool(&self.session, &self.claim, &self.unacknowledged);
        match self.contender.enter(Some(before), read).await? {
            Some(_) => Ok(None),
            // The queue was created in that very flight: somebody removes the pool at this moment.
            None if self.removals < MOST_REMOVALS => {
                self.removals += 1;
                Ok(None)
            }
            None => Err(self.session.failure(&zk::Error::NoNode, "create", &self.queue)),
        }
    }

    /// Creates the queue, for a claim that obeys the number of the pool: the pool has to be there.
    async fn create_queue(&mut self) -> Attempt<Option<Outcome>> {
        let snapshot = pool::read(&self.session, &self.claim, &self.queue).await?;
        self.check_limit(&snapshot)?;
        let read = || pool::read(&self.session, &self.claim, &self.queue);
        let nothing = Box::pin(std::future::ready(None));
        self.contender.enter(Some(nothing), read).await.map(|_: Option<Snapshot>| None)
    }

    fn check_limit(&self, snapshot: &Snapshot) -> Attempt<()> {
        match (snapshot.limit(), self.claim.limit) {
            (Limit::Number(stored), Some(wanted)) if stored != i64::from(wanted) => {
                let path = self.claim.pool.clone();
                Err(Failure::Final(Error::LimitMismatch { path, stored, wanted }))
            }
            (Limit::Unset | Limit::Foreign, None) => self.claim.limit_to_store().map(drop).map_err(Failure::Final),
            _ => Ok(()),
        }
    }

    /// Whether a slot is free even if all contenders take one that are before this one.
    fn will_have_room(&self, snapshot: &Snapshot) -> bool {
        snapshot.has_room(self.contender.ahead(&snapshot.queue), self.claim.limit)
    }

    /// Exchanges the queue node for the lease, in one transaction. `None`: the snapshot was out of date.
    async fn take(&mut self, snapshot: &Snapshot, others: &OtherLeases) -> Attempt<Option<Outcome>> {
        let Some(mine) = self.contender.node().map(str::to_owned) else {
            return Ok(None);
        };
        let node = self.contender.path(&mine);
        let before = self.progress.in_flight.replace(InFlight::Exchange(mine));
        self.expect_lease();
        let exchanged = Exchanged { queue: &self.queue, node: &node, lease: &self.lease };
        let (claim, reason) = (self.claim.clone(), self.reason.as_ref());
        match exchange(&self.session, &claim, snapshot, others, &exchanged, reason, &self.unacknowledged).await {
            Exchange::Done(czxid) => {
                self.contender.has_left();
                for name in &others.replaced {
                    self.session.forget(&claim.key(self.session.id()), name);
                    self.session.keep_no_more_for(&claim.path(name));
                    self.session.forget(&names::reasons(&claim.pool), name);
                }
                if !others.replaced.is_empty() {
                    let (pool, replaced) = (&claim.pool, others.replaced.join(", "));
                    log::info!("the lease {} of {pool} has replaced {replaced}", self.lease);
                    lease::sweep(&self.session, &claim.pool, others.replaced.iter()).await;
                }
                Ok(Some(self.taken(czxid?)))
            }
            Exchange::Refused { lease_exists, failure } => {
                if !lease_exists {
                    self.lease_is_refused(before);
                }
                failure.map_or(Ok(None), Err)
            }
            Exchange::ReasonForbidden => {
                // Who holds a slot matters more than why.
                self.reason = None;
                self.lease_is_refused(before);
                Ok(None)
            }
            Exchange::Unknown(failure) => Err(failure),
        }
    }

    /// Waits, as the first in the queue, for a slot: until a lease is gone, or the limit has changed. It returns early where
    /// the queue node is gone.
    async fn watch_pool(&mut self) -> Attempt<()> {
        let Self { contender, session, claim, unfired, .. } = self;
        let pool = &claim.pool;
        let waiting = async {
            let (data, leases) = join(session.get_and_watch_data(pool), session.list_and_watch_children(pool)).await;
            let refused = |error| session.failure(&error, "read", pool);
            let (Some((data, stat, limit_changed)), Some((leases, lease_gone))) =
                (or_missing(data).map_err(refused)?, or_missing(leases).map_err(refused)?)
            else {
                return Ok(());
            };
            let snapshot = Snapshot { pool: Some((data, stat)), leases, ..Snapshot::default() };
            if snapshot.has_room(0, claim.limit) {
                return Ok(());
            }
            let (Either::Left((event, other)) | Either::Right((event, other))) =
                select(Box::pin(limit_changed.changed()), Box::pin(lease_gone.changed())).await;
            *unfired = Some(Box::new(other));
            match event.event_type {
                zk::EventType::Session => Err(Failure::Gone),
                _ => Ok(()),
            }
        };
        contender.while_queued(waiting).await
    }

    /// Notes the lease before it is asked for: whoever sees it in the pool from then on knows whose it is.
    fn expect_lease(&self) {
        if self.claim.ephemeral {
            self.session.keep_for_alone(&self.claim.path(&self.lease));
        }
        if self.claim.terms == Terms::Kept {
            self.session.keep_for_alone(&names::liveness_node(&self.queue, &self.lease));
        }
        if self.claim.terms == Terms::Shared {
            self.session.remember(&self.claim.key(self.session.id()), &self.lease);
            if self.reason.is_some() {
                self.session.remember(&names::reasons(&self.claim.pool), &self.lease);
            }
        }
    }

    fn forget_lease(&self) {
        self.session.keep_no_more_for(&self.claim.path(&self.lease));
        self.session.keep_no_more_for(&names::liveness_node(&self.queue, &self.lease));
        self.session.forget(&self.claim.key(self.session.id()), &self.lease);
        self.session.forget(&names::reasons(&self.claim.pool), &self.lease);
    }

    /// Notes that the servers have refused a transaction for the lease. `before`: an earlier one that is still in
    /// flight.
    fn lease_is_refused(&mut self, before: Option<InFlight>) {
        if before.is_none() {
            self.forget_lease();
        }
        self.progress.in_flight = before;
    }

    /// Whether the claim is for a hold, which knows its fencing token.
    pub(super) fn needs_token(&self) -> bool {
        self.claim.terms != Terms::Shared
    }

    fn taken(&mut self, czxid: Option<i64>) -> Outcome {
        self.progress.in_flight = None;
        self.is_taken = true;
        Outcome::Taken(czxid)
    }

    /// Gives the queue node up, and finds out whether the lease was taken before. Waits for a connection until the
    /// session is over: then the servers remove the queue node, and only a lease that is still in flight may remain.
    /// Then, and where the creation of a pool may still come, the failure says that it is not known whether there is a
    /// lease.
    pub(super) async fn withdraw(mut self) -> Attempt<Withdrawal> {
        let withdrawal = loop {
            match self.try_withdraw().await {
                Err(Failure::Lost) => {
                    self.contender.has_lost_a_reply();
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Failure::Gone) if !self.progress.is_unsure() => break Ok(Withdrawal::NoLease),
                ended => break ended,
            }
        };
        self.contender.has_left();
        withdrawal
    }

    async fn try_withdraw(&mut self) -> Attempt<Withdrawal> {
        let in_flight = &mut self.progress.in_flight;
        let deleted = |deleted: &str| {
            // Queue node and lease change hands in one transaction: whoever deletes the queue node has no lease.
            drop(in_flight.take_if(|it| matches!(it, InFlight::Exchange(node) if node == deleted)));
        };
        self.contender.try_withdraw(deleted).await?;
        let withdrawal = if self.progress.is_unsure() { self.find_lease().await? } else { Withdrawal::NoLease };
        if withdrawal == Withdrawal::NoLease && !self.is_taken {
            self.forget_lease();
        }
        Ok(withdrawal)
    }

    async fn find_lease(&self) -> Attempt<Withdrawal> {
        let lease = self.claim.path(&self.lease);
        let (synced, stat) = join(self.session.sync(&lease), self.session.check_stat(&lease)).await;
        let refused = |error| self.session.failure(&error, "read", &lease);
        synced.map_err(refused)?;
        let stat = match stat {
            // ZooKeeper 3.9 lets only a reader ask for a znode that is there.
            Err(zk::Error::NoAuth) => return Ok(Withdrawal::Lease(None)),
            stat => stat.map_err(refused)?,
        };
        match stat {
            Some(stat) => Ok(Withdrawal::Lease(Some(stat.czxid))),
            None if self.progress.in_flight == Some(InFlight::PoolCreation) => Err(Failure::Gone),
            None => Ok(Withdrawal::NoLease),
        }
    }
}

/// Creates the parents and the pool where they are missing, in one flight that is sent at once: why one was refused.
fn missing_pool<'a>(
    session: &'a Session,
    claim: &'a Claim,
    unacknowledged: &'a Unacknowledged,
) -> BoxFuture<'a, Option<zk::Error>> {
    let acls = claim.acls();
    let persistent = zk::CreateMode::Persistent.with_acls(acls);
    let parents = session.make_parents(path::parents(&claim.pool), acls, unacknowledged);
    // Only a claim that has a number makes a pool.
    let limit = claim.limit.map(Limit::encode).unwrap_or_default();
    let pool = session.writes(unacknowledged).create(&claim.pool, limit.as_bytes(), &persistent);
    Box::pin(async move {
        let (refused, pool) = join(parents, pool).await;
        refused.or_else(|| pool.err().filter(|error| *error != zk::Error::NodeExists))
    })
}
