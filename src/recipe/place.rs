//! One contender's place in the queue of a pool, from entering it to leaving it.
//!
//! Layout: see [`names`]. Invariants: a lease is added only by the first in the queue, and only while
//! the pool has fewer children than its limit; every child of the pool counts. A lease that ends sooner
//! than the claim asks for may be swapped for another of the same identifier by anybody: the count stays.
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

mod watch;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use futures::future::{join, join3, OptionFuture};
use zookeeper_client as zk;

use crate::deadline::Patience;
use crate::error::Error;
use crate::path;
use crate::recipe::found::found;
use crate::recipe::lease::{self, Own};
use crate::recipe::semaphore::{Claim, Progress};
use crate::recipe::sweep::sweep;
use crate::recipe::view::{self, View};
use crate::recipe::{children, names, order};
use crate::record::Limit;
use crate::session::{Failure, Session, PAUSE};

/// Where a waiter's position in the queue goes: 1 is next, 0 is not in it yet.
pub type Positions = tokio::sync::watch::Sender<usize>;

/// What is risked where a pool is founded: no place whose removal would prove that there is no lease.
const FOUNDING: &str = "";

type Attempt<T> = std::result::Result<T, Failure>;

/// How contending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The claim has its lease, by way of this place.
    Taken,
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
    /// No place, but the lease had been taken before.
    Lease,
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
    /// Whether to take a slot whether there is one or not.
    pub(super) force: bool,
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
        let (prefix, stage, stale) = (names::place(), Stage::Outside, false);
        Self { session, claim, queue, prefix, stage, lease, progress, positions, stale, force: false, unfired: None }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Whether there is nothing left to tidy away.
    pub(super) fn is_left(&self) -> bool {
        self.stage == Stage::Outside && !self.progress.is_unsure()
    }

    /// Contends until the lease is there, or the caller's patience is at its end. It may be dropped at
    /// any point; [`Place::leave`] then tells what has become of it.
    pub(super) async fn contend(&mut self, patience: Patience) -> Attempt<Outcome> {
        loop {
            match self.round(patience).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {}
                Err(Failure::Lost) => {
                    self.stale = true;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failure) => return Err(failure),
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
            match lease::own(&self.session, &self.claim, &view.leases).await? {
                Own::Held if self.progress.is_unsure() => {
                    if view.leases.contains(&self.lease) {
                        self.note_lease();
                    }
                    return Ok(Some(Outcome::Taken));
                }
                Own::Held => return Ok(Some(Outcome::Already)),
                Own::Outlived(old) => return self.take(&view, &old).await,
                // While the place is there the transaction may still come.
                Own::Nothing => drop(self.progress.risked.take_if(|place| !view.queue.contains(place))),
            }
        }
        if self.force {
            return self.take(&view, &[]).await;
        }
        if !self.progress.admitted {
            self.check_limit(&view)?;
            self.progress.admitted = true;
        }
        self.tell(&view.queue, mine);
        let before = match standing {
            order::Standing::First if view.has_room(0, self.claim.limit) => return self.take(&view, &[]).await,
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
            let sync = self.session.client().sync(&self.queue);
            let (synced, view) = join(sync, self.read()).await;
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
        match found(&self.session, &self.claim, &self.queue, &self.lease).await {
            Ok(true) => {
                self.progress.risked = None;
                self.note_lease();
                return Ok(Some(Outcome::Taken));
            }
            Ok(false) => self.progress.risked = before,
            Err(failure) => {
                if matches!(failure, Failure::Final(_)) {
                    self.progress.risked = before;
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
        let client = self.session.client();
        let acls = self.claim.acls();
        let persistent = zk::CreateMode::Persistent.with_acls(acls);
        let limit = Limit::encode(self.claim.limit);
        // The pool and the queue come after their parents, and before what needs them.
        let making = make_tree.then(|| {
            let parents = self.session.make_parents(path::parents(&self.claim.pool), acls);
            let pool = client.create(&self.claim.pool, limit.as_bytes(), &persistent);
            join3(parents, pool, client.create(&self.queue, b"", &persistent))
        });
        let prefix = format!("{}/{}", self.queue, self.prefix);
        let sequential = zk::CreateMode::EphemeralSequential.with_acls(acls);
        let entering = client.create(&prefix, self.claim.identifier.as_bytes(), &sequential);
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

    /// Swaps the place for the lease, in one transaction. `None`: the view was out of date.
    async fn take(&mut self, view: &View, old: &[String]) -> Attempt<Option<Outcome>> {
        let Stage::Queued(mine) = &self.stage else {
            return Ok(None);
        };
        let claim = self.claim.clone();
        let place = format!("{}/{mine}", self.queue);
        let lease = format!("{}/{}", claim.pool, self.lease);
        let limit = Limit::encode(claim.limit);
        let persistent = zk::CreateMode::Persistent.with_acls(claim.acls());
        // The transaction is: the pool, the old leases, the lease, the place.
        let (for_lease, for_place) = (old.len() + 1, old.len() + 2);
        let result = {
            let mut writer = self.session.client().new_multi_writer();
            let written = (|| {
                match &view.pool {
                    None => writer.add_create(&claim.pool, limit.as_bytes(), &persistent)?,
                    Some((data, stat)) if data.is_empty() => {
                        writer.add_set_data(&claim.pool, limit.as_bytes(), Some(stat.version))?;
                    }
                    // A limit that was changed meanwhile is a reason to look again.
                    Some((_, stat)) => writer.add_check_version(&claim.pool, stat.version)?,
                }
                for name in old {
                    writer.add_delete(&format!("{}/{name}", claim.pool), None)?;
                }
                writer.add_create(&lease, claim.identifier.as_bytes(), &claim.lease_options())?;
                writer.add_delete(&place, None)
            })();
            written.map_err(|error| self.failure(&error, "create", &lease))?;
            let before = self.progress.risked.replace(mine.clone());
            let result = writer.commit().await;
            match &result {
                // No other has that name: an earlier transaction has come after all.
                Err(zk::MultiWriteError::OperationFailed { index, source: zk::Error::NodeExists })
                    if *index == for_lease => {}
                Err(zk::MultiWriteError::OperationFailed { .. }) => self.progress.risked = before,
                _ => {}
            }
            result
        };
        match result {
            Ok(_) => {
                self.stage = Stage::Outside;
                self.progress.risked = None;
                self.note_lease();
                Ok(Some(Outcome::Taken))
            }
            Err(zk::MultiWriteError::OperationFailed { index, source }) => match source {
                zk::Error::NoNode | zk::Error::NodeExists | zk::Error::BadVersion => Ok(None),
                zk::Error::NoAuth if index == for_place => Err(self.failure(&source, "delete", &place)),
                error => Err(self.failure(&error, "create", &lease)),
            },
            Err(zk::MultiWriteError::RequestFailed { source }) => Err(self.failure(&source, "create", &lease)),
        }
    }

    fn note_lease(&self) {
        let owner = self.claim.owner(self.session.id());
        self.session.note(&self.claim.pool, owner.into_owned(), Some(self.lease.clone()));
    }

    /// Gives the place up, and finds out what there is left of it. Waits for a connection, until the
    /// session is over: then the server removes the place, and only a lease in doubt may remain. Then, and
    /// where a pool that was being founded may still come, the failure says that it cannot be told.
    pub(super) async fn leave(mut self) -> Attempt<Left> {
        let left = loop {
            match self.try_leave().await {
                Err(Failure::Lost) => {
                    self.stale = true;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Failure::Gone) if !self.progress.is_unsure() => break Ok(Left::Nothing),
                ended => break ended,
            }
        };
        // Nothing more can be done: there is nothing for `drop` to do again.
        self.stage = Stage::Outside;
        left
    }

    async fn try_leave(&mut self) -> Attempt<Left> {
        let client = self.session.client();
        let places = match &self.stage {
            Stage::Outside => Vec::new(),
            Stage::Queued(name) if !self.stale => vec![name.clone()],
            Stage::Entering | Stage::Queued(_) => {
                let queue = children(&self.session, &self.queue).await?;
                queue.into_iter().filter(|name| name.starts_with(&self.prefix)).collect()
            }
        };
        if places.is_empty() && self.stage == Stage::Entering {
            sweep(&self.session, &self.queue, self.prefix.clone());
            self.stage = Stage::Outside;
        }
        for name in places {
            let place = format!("{}/{name}", self.queue);
            match client.delete(&place, None).await {
                // Place and lease change hands in one transaction: who removed that place has no lease.
                Ok(()) if self.progress.risked.as_ref() == Some(&name) => self.progress.risked = None,
                Ok(()) | Err(zk::Error::NoNode) => {}
                Err(error) => return Err(self.failure(&error, "delete", &place)),
            }
        }
        if !self.progress.is_unsure() {
            return Ok(Left::Nothing);
        }
        let lease = format!("{}/{}", self.claim.pool, self.lease);
        let (synced, stat) = join(client.sync(&lease), client.check_stat(&lease)).await;
        let refused = |error| self.failure(&error, "read", &lease);
        synced.map_err(refused)?;
        match stat.map_err(refused)? {
            Some(_) => {
                self.note_lease();
                Ok(Left::Lease)
            }
            None if self.progress.risked.as_deref() == Some(FOUNDING) => Err(Failure::Gone),
            None => Ok(Left::Nothing),
        }
    }

    fn failure(&self, error: &zk::Error, action: &'static str, path: &str) -> Failure {
        self.session.failure(error, action, path)
    }
}

/// The safety net for a place that is dropped without [`Place::leave`], by a panic for one.
impl Drop for Place {
    fn drop(&mut self) {
        if self.stage == Stage::Outside {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let mut rest = Self::new(self.session.clone(), self.claim.clone(), Progress::default(), None);
            rest.prefix.clone_from(&self.prefix);
            // Whatever name it got, the prefix finds it.
            rest.stage = Stage::Entering;
            runtime.spawn(rest.leave());
        }
    }
}
