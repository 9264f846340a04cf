//! One contender's place in the queue of a pool, from entering it to leaving it.
//!
//! Layout: see [`names`]. Invariants: never more identifiers hold a slot than the limit says. A lease is added only by
//! the first in the queue, and only while the pool has fewer children than its limit; every child of the pool counts.
//! Or it is added beside a lease of the same identifier, which the same transaction proves to be there: then the slot
//! is that identifier's already, and stays so until the last of its leases is gone, whichever is given back first.
//!
//! Steps. Each is one flight: its requests travel together.
//! 1. enter: create(place), and one read of queue and pool. Without a queue: `found`.
//! 2. first, and room: one transaction of create(lease) and delete(place). Done.
//! 3. otherwise watch: the predecessor, or, as the first, the pool; then look again.
//!
//! | step | reply lost | session gone | caller gives up |
//! | --- | --- | --- | --- |
//! | enter | sync, then look for the place by its unique prefix; if it is not there enter under another, and [`sweep`] | start over | remove all places with that prefix |
//! | take | sync, then look for the lease by the derived half of its name | start over; a persistent lease is then found by that half | delete(place) decides: gone already means that the lease was taken |
//! | [`watch`] | the client renews the watch | start over | remove the place |

mod leave;
mod watch;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use futures::future::{join, join3, OptionFuture};
use zookeeper_client as zk;

use crate::deadline::Patience;
use crate::error::Error;
use crate::path;
use crate::recipe::claim::{Claim, Progress, Terms};
use crate::recipe::data::Limit;
use crate::recipe::found::found;
use crate::recipe::hold::{self, Hold};
use crate::recipe::lease::{self, Beside, Own};
use crate::recipe::sweep::sweep;
use crate::recipe::view::{self, View};
use crate::recipe::{names, order};
use crate::session::{Failure, Session, Transaction, Unacknowledged};

/// Where a waiter's position in the queue goes: 1 is next, 0 is not in it yet.
pub type Positions = tokio::sync::watch::Sender<usize>;

/// What is risked where a pool is founded: no place whose removal would prove that there is no lease.
const FOUNDING: &str = "";

/// In a check of a transaction: the znode has to be there.
const ANY_VERSION: i32 = -1;

type Attempt<T> = std::result::Result<T, Failure>;

/// How contending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The claim has its lease, by way of this place: the lease's czxid, where it was asked for.
    Taken(Option<i64>),
    /// The identifier held one before.
    Already,
    /// There is no slot now, and the caller does not wait.
    Full,
}

/// What is left after a place was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// No place, and no lease taken through it.
    Nothing,
    /// No place, but the lease had been taken before: its czxid.
    Lease(Option<i64>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Outside,
    /// The place was asked for, and the reply not seen.
    Entering,
    Queued(String),
}

/// A contender's place in a queue.
#[derive(Debug)]
pub(super) struct Place {
    session: Session,
    claim: Arc<Claim>,
    queue: String,
    prefix: String,
    stage: Stage,
    lease: String,
    progress: Progress,
    positions: Option<Positions>,
    /// A reply was lost: what a server knows may be older than what was done.
    stale: bool,
    /// The lease is there, and the caller is told so.
    is_taken: bool,
    /// Whether to take a slot whether there is one or not.
    pub(super) force: bool,
    /// The writes that no server has answered. What became of them is read from the queue and the pool, by the unique
    /// names of the queue node and the lease.
    unacknowledged: Unacknowledged,
    /// A watch that did not fire. Dropping it is a request, which must not come before one that somebody waits for.
    unfired: Option<Box<dyn Any + Send + Sync>>,
}

impl Place {
    pub(super) fn new(
        session: Session,
        claim: Arc<Claim>,
        mut progress: Progress,
        positions: Option<Positions>,
    ) -> Self {
        if claim.ephemeral {
            // What an earlier session took has gone with it.
            progress.risked = None;
        }
        // A persistent lease that was risked in an earlier session must be told from that of another contender.
        let known = progress.lease.take().filter(|_| !claim.ephemeral);
        let lease = known.unwrap_or_else(|| names::lease(&claim.owner(session.id())));
        progress.lease = Some(lease.clone());
        let queue = names::queue(&claim.pool);
        Self {
            session,
            claim,
            queue,
            prefix: names::place(),
            stage: Stage::Outside,
            lease,
            progress,
            positions,
            stale: false,
            force: false,
            is_taken: false,
            unacknowledged: Unacknowledged::new(""),
            unfired: None,
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the place is in this session.
    pub(super) fn is_in(&self, session: &Session) -> bool {
        self.session.id() == session.id()
    }

    /// The claim's lease, once it is known to be there.
    pub(super) fn hold(&self, czxid: Option<i64>) -> Hold {
        Hold {
            pool: self.claim.pool.clone(),
            identifier: self.claim.identifier.clone(),
            lease: self.lease.clone(),
            czxid,
            session: self.session.id(),
            ephemeral: self.claim.ephemeral,
            marked: self.claim.terms == Terms::Kept,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Whether there is nothing left to tidy away.
    pub(super) fn is_left(&self) -> bool {
        self.stage == Stage::Outside && !self.progress.is_unsure()
    }

    /// Contends until the lease is there, or the caller's patience is at its end. It may be dropped at
    /// any point; [`Place::leave`] then tells what has become of it. After [`Failure::Lost`] it is called again.
    pub(super) async fn contend(&mut self, patience: Patience) -> Attempt<Outcome> {
        loop {
            match self.round(patience).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {}
                Err(failure) => {
                    self.stale |= matches!(failure, Failure::Lost);
                    return Err(failure);
                }
            }
        }
    }

    async fn round(&mut self, patience: Patience) -> Attempt<Option<Outcome>> {
        let Some(view) = self.look().await? else {
            return self.found().await;
        };
        let Stage::Queued(mine) = &self.stage else {
            return Ok(None);
        };
        let standing = order::standing(&view.queue, mine);
        if standing == order::Standing::Absent {
            self.stage = Stage::Outside;
            return Ok(None);
        }
        if !names::is_in_order(mine) {
            let reason = "its counter is used up: delete it while nobody waits there".to_owned();
            return Err(Failure::Final(Error::Server { action: "enter", path: self.queue.clone(), reason }));
        }
        let first = standing == order::Standing::First;
        if first || !self.progress.admitted || self.progress.is_unsure() {
            if self.progress.is_unsure() && view.leases.contains(&self.lease) {
                let lease = format!("{}/{}", self.claim.pool, self.lease);
                let stat =
                    self.session.check_stat(&lease).await.map_err(|error| self.failure(&error, "read", &lease))?;
                return Ok(stat.map(|stat| self.taken(Some(stat.czxid))));
            }
            match lease::own(&self.session, &self.claim, &view.leases, &view.queue).await? {
                Own::Held => return Ok(Some(Outcome::Already)),
                Own::Beside(beside) => return self.take(&view, &beside).await,
                // While the place is there the transaction may still come.
                Own::Nothing => drop(self.progress.risked.take_if(|place| !view.queue.contains(place))),
            }
        }
        let alone = Beside::default();
        if self.force {
            return self.take(&view, &alone).await;
        }
        if !self.progress.admitted {
            self.check_limit(&view)?;
            self.progress.admitted = true;
        }
        self.tell(&view.queue, mine);
        let before = match standing {
            order::Standing::First if view.has_room(0, self.claim.limit) => return self.take(&view, &alone).await,
            // Who tries once still waits for those who are about to take a slot and leave one over.
            _ if patience == Patience::Once && !self.will_have_room(&view, mine) => return Ok(Some(Outcome::Full)),
            order::Standing::Behind { predecessor } => Some(format!("{}/{predecessor}", self.queue)),
            _ => None,
        };
        // All who wait would keep the names of all who wait.
        drop(view);
        match before {
            Some(predecessor) => self.watch_predecessor(&predecessor).await,
            None => self.watch_pool().await,
        }
        .map(|()| None)
    }

    /// Sees the queue and the pool, and enters the queue if need be. `None`: there is no queue yet.
    async fn look(&mut self) -> Attempt<Option<View>> {
        if self.stage == Stage::Outside {
            return self.enter(false).await;
        }
        let view = if self.stale {
            let (synced, view) = join(self.session.sync(&self.queue), self.read()).await;
            synced.map_err(|error| self.failure(&error, "read", &self.queue))?;
            view?
        } else {
            self.read().await?
        };
        self.stale = false;
        if self.stage == Stage::Entering {
            self.stage = match order::own_place(&view.queue, &self.prefix) {
                Some(name) => Stage::Queued(name.to_owned()),
                None => {
                    let lost = std::mem::replace(&mut self.prefix, names::place());
                    sweep(&self.session, &self.queue, lost);
                    Stage::Outside
                }
            };
        }
        Ok(Some(view))
    }

    /// Makes the pool with the lease in it, or, where others have begun to, what is missing for a queue.
    async fn found(&mut self) -> Attempt<Option<Outcome>> {
        let before = self.progress.risked.replace(FOUNDING.to_owned());
        self.expect_lease();
        match found(&self.session, &self.claim, &self.queue, &self.lease, &self.unacknowledged).await {
            Ok(Some(czxid)) => return Ok(Some(self.taken(czxid))),
            Ok(None) => self.lease_is_refused(before),
            Err(failure) => {
                if matches!(failure, Failure::Final(_)) {
                    self.lease_is_refused(before);
                }
                return Err(failure);
            }
        }
        match self.enter(true).await? {
            Some(_) => Ok(None),
            // The tree was made in that very flight: somebody removes it as fast.
            None => Err(self.failure(&zk::Error::NoNode, "create", &self.queue)),
        }
    }

    /// Enters the queue. `None`: there is no queue yet, and `make_tree` was not asked for.
    async fn enter(&mut self, make_tree: bool) -> Attempt<Option<View>> {
        self.stage = Stage::Entering;
        let (session, unacknowledged) = (&self.session, &self.unacknowledged);
        let acls = self.claim.acls();
        let persistent = zk::CreateMode::Persistent.with_acls(acls);
        let limit = Limit::encode(self.claim.limit);
        // The pool and the queue come after their parents, and before what needs them.
        let making = make_tree.then(|| {
            let parents = session.make_parents(path::parents(&self.claim.pool), acls, unacknowledged);
            let pool = session.writes(unacknowledged).create(&self.claim.pool, limit.as_bytes(), &persistent);
            let queue = session.writes(unacknowledged).create(&self.queue, b"", &persistent);
            join3(parents, pool, queue)
        });
        let prefix = format!("{}/{}", self.queue, self.prefix);
        let sequential = zk::CreateMode::EphemeralSequential.with_acls(acls);
        let entering = session.writes(unacknowledged).create(&prefix, self.claim.identifier.as_bytes(), &sequential);
        let (made, entered, view) = join3(OptionFuture::from(making), entering, self.read()).await;
        match entered {
            Ok((_, sequence)) => {
                self.stage = Stage::Queued(format!("{}{sequence}", self.prefix));
                Ok(Some(view?))
            }
            Err(zk::Error::NoNode) => {
                self.stage = Stage::Outside;
                let cause = made.and_then(|(parents, pool, queue)| {
                    let rest = [pool.err(), queue.err()].into_iter().flatten();
                    parents.or_else(|| rest.into_iter().find(|error| *error != zk::Error::NodeExists))
                });
                cause.map_or(Ok(None), |error| Err(self.failure(&error, "create", &self.queue)))
            }
            Err(error) => {
                let failure = self.failure(&error, "create", &self.queue);
                if matches!(failure, Failure::Final(_)) {
                    self.stage = Stage::Outside;
                }
                Err(failure)
            }
        }
    }

    fn read(&self) -> impl Future<Output = Attempt<View>> + '_ {
        view::read(&self.session, &self.claim, &self.queue)
    }

    fn check_limit(&self, view: &View) -> Attempt<()> {
        match view.limit() {
            Limit::Number(stored) if stored != i64::from(self.claim.limit) => {
                let (path, wanted) = (self.claim.pool.clone(), self.claim.limit);
                Err(Failure::Final(Error::LimitMismatch { path, stored, wanted }))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is a slot even if all take one who are before `mine`.
    fn will_have_room(&self, view: &View, mine: &str) -> bool {
        let ahead = order::position(&view.queue, mine).map_or(0, |position| position - 1);
        view.has_room(ahead, self.claim.limit)
    }

    /// Exchanges the place for the lease, in one transaction. `None`: the view was out of date.
    async fn take(&mut self, view: &View, beside: &Beside) -> Attempt<Option<Outcome>> {
        let Stage::Queued(mine) = &self.stage else {
            return Ok(None);
        };
        let (claim, mine) = (self.claim.clone(), mine.clone());
        let place = format!("{}/{mine}", self.queue);
        let lease = format!("{}/{}", claim.pool, self.lease);
        let limit = Limit::encode(claim.limit);
        let persistent = zk::CreateMode::Persistent.with_acls(claim.acls());
        // The transaction is: the pool, the other leases, the lease, the mark, the place.
        let for_lease = 1 + usize::from(beside.witness.is_some()) + beside.replaced.len();
        let for_place = for_lease + 1 + usize::from(claim.terms == Terms::Kept);
        let before = self.progress.risked.replace(mine);
        self.expect_lease();
        let result = {
            let mut transaction = self.session.writes(&self.unacknowledged).transaction();
            let build = |transaction: &mut Transaction<'_>| {
                match &view.pool {
                    None => transaction.create(&claim.pool, limit.as_bytes(), &persistent)?,
                    Some((data, stat)) if data.is_empty() => {
                        transaction.set_data(&claim.pool, limit.as_bytes(), Some(stat.version))?;
                    }
                    // A limit that was changed meanwhile is a reason to look again.
                    Some((_, stat)) => transaction.check(&claim.pool, stat.version)?,
                }
                if let Some(name) = &beside.witness {
                    transaction.check(&format!("{}/{name}", claim.pool), ANY_VERSION)?;
                }
                for name in &beside.replaced {
                    transaction.delete(&format!("{}/{name}", claim.pool))?;
                }
                transaction.create(&lease, claim.identifier.as_bytes(), &claim.lease_options())?;
                if claim.terms == Terms::Kept {
                    let ephemeral = zk::CreateMode::Ephemeral.with_acls(claim.acls());
                    let mark = hold::mark(&self.queue, &self.lease);
                    transaction.create(&mark, claim.identifier.as_bytes(), &ephemeral)?;
                }
                transaction.delete(&place)
            };
            match build(&mut transaction) {
                Ok(()) => {
                    let committing = transaction.commit();
                    let (result, czxid) = join(committing, lease::czxid(&self.session, &claim, &lease)).await;
                    result.map(|_| czxid)
                }
                Err(source) => Err(zk::MultiWriteError::OperationFailed { index: 0, source }),
            }
        };
        match result {
            Ok(czxid) => {
                self.stage = Stage::Outside;
                let owner = claim.owner(self.session.id());
                for name in &beside.replaced {
                    self.session.forget(&claim.pool, &owner, name);
                    self.session.keep_no_more_for(&format!("{}/{name}", claim.pool));
                }
                Ok(Some(self.taken(czxid?)))
            }
            Err(zk::MultiWriteError::OperationFailed { index, source }) => {
                // No other has that name: where it exists, an earlier transaction has come after all.
                if !(index == for_lease && source == zk::Error::NodeExists) {
                    self.lease_is_refused(before);
                }
                match source {
                    zk::Error::NoNode | zk::Error::NodeExists | zk::Error::BadVersion => Ok(None),
                    zk::Error::NoAuth if index == for_place => Err(self.failure(&source, "delete", &place)),
                    error => Err(self.failure(&error, "create", &lease)),
                }
            }
            Err(zk::MultiWriteError::RequestFailed { source }) => Err(self.failure(&source, "create", &lease)),
        }
    }

    /// Notes the lease before it is asked for: whoever sees it in the pool from then on knows whose it is.
    fn expect_lease(&self) {
        let lease = format!("{}/{}", self.claim.pool, self.lease);
        if self.claim.ephemeral {
            self.session.keep_for(&lease);
        }
        if self.claim.terms == Terms::Kept {
            self.session.keep_for(&hold::mark(&self.queue, &self.lease));
        }
        if self.claim.terms == Terms::Shared {
            self.session.note(&self.claim.pool, &self.claim.owner(self.session.id()), &self.lease);
        }
    }

    fn forget_lease(&self) {
        self.session.keep_no_more_for(&format!("{}/{}", self.claim.pool, self.lease));
        self.session.keep_no_more_for(&hold::mark(&self.queue, &self.lease));
        self.session.forget(&self.claim.pool, &self.claim.owner(self.session.id()), &self.lease);
    }

    /// A transaction for the lease was refused. `before`: an earlier one whose outcome is not known.
    fn lease_is_refused(&mut self, before: Option<String>) {
        if before.is_none() {
            self.forget_lease();
        }
        self.progress.risked = before;
    }

    fn taken(&mut self, czxid: Option<i64>) -> Outcome {
        self.progress.risked = None;
        self.is_taken = true;
        Outcome::Taken(czxid)
    }

    fn failure(&self, error: &zk::Error, action: &'static str, path: &str) -> Failure {
        self.session.failure(error, action, path)
    }
}
