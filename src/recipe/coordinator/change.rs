//! The one transaction that changes a lock: decide, then write if everything is still as it was read.
//!
//! A [`record`](crate::record) is one znode. Here requests go away and units are told in the same transaction, so that
//! it is a record's compare-and-set with company. After a lost reply the requests and the grants that are there tell what
//! was done, and to decide again over them does no harm. What is kept of a write is what it meant for others: that is told
//! once it is certain.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use futures::future::join;
use serde::Serialize;
use zookeeper_client as zk;

use super::decide::{decide, expired, Plan};
use super::document::{Grant, Grants, Request};
use super::lock::Lock;
use super::policy::Policy;
use super::snapshot::{self, members, Snapshot};
use super::window;
use crate::error::Error;
use crate::path;
use crate::record::Stored;
use crate::session::{Attempt, Failure, Reply, Session, Transaction, Unacknowledged};

/// How often one attempt reads again at once because somebody was faster. Then it pauses.
pub(super) const AT_ONCE: usize = 100;

/// A request that was dropped because its unit has not been seen for as long as it has said itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dropped {
    /// Whose it was.
    pub unit: String,
    /// Whether it was granted.
    pub granted: bool,
    /// When the unit was seen last, by the servers' clock: UTC, in the form of RFC 3339.
    pub seen: String,
    /// Seconds.
    pub expires: f64,
}

/// What a call has changed for others.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Effects {
    /// Units that were granted the lock.
    pub granted: Vec<String>,
    /// Units whose grants are over, and when their requests were made, in milliseconds since 1970; 0 where that is not
    /// known any more.
    pub released: Vec<(String, i64)>,
    /// Requests that were dropped. Where the reply to that was lost and others have written since, they are here although
    /// another may have dropped them: rather twice than never.
    pub dropped: Vec<Dropped>,
}

impl Effects {
    fn add(&mut self, more: Self) {
        self.granted.extend(more.granted);
        self.released.extend(more.released);
        self.dropped.extend(more.dropped);
    }

    /// What of this was done, as far as a later snapshot shows it: grants of `written` that are there, and requests that
    /// are not.
    fn shown_by(mut self, snapshot: &Snapshot, written: &Grants) -> Self {
        let decision = |grant: &Grant| (grant.request, grant.by.clone(), grant.reason.clone());
        let grant_of = |grants: &Grants, unit: &String| grants.0.get(unit).map(decision);
        self.granted.retain(|unit| grant_of(written, unit) == grant_of(&snapshot.grants, unit));
        let is_gone = |unit: &str, is_it: &dyn Fn(&Request) -> bool| !snapshot.request(unit).is_some_and(is_it);
        self.released.retain(|(unit, since)| is_gone(unit, &|request| request.since == *since));
        self.dropped.retain(|it| is_gone(&it.unit, &|request| window::rfc3339(request.seen) == it.seen));
        self
    }
}

/// A write whose outcome is not known yet, and what it would have done.
#[derive(Debug)]
struct Pending {
    becomes: i32,
    data: Vec<u8>,
    grants: Grants,
    effects: Effects,
}

/// The changes of one call, over its attempts.
#[derive(Debug, Default)]
pub(super) struct Changes {
    done: Mutex<Effects>,
    pending: Mutex<Vec<Pending>>,
}

impl Changes {
    /// What was done for certain.
    pub(super) fn effects(&self) -> Effects {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, effects: Effects) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).add(effects);
    }

    /// Finds out, by a new snapshot, which writes were carried out whose replies were lost. One that a server may carry out
    /// yet stays in the account.
    fn resolve(&self, snapshot: &Snapshot) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let version = snapshot.version.unwrap_or(-1);
        for own in std::mem::take(&mut *pending) {
            match own.becomes.cmp(&version) {
                Ordering::Equal if own.data == snapshot.written => self.add(own.effects),
                Ordering::Equal => {}
                Ordering::Less => self.add(own.effects.shown_by(snapshot, &own.grants)),
                Ordering::Greater => pending.push(own),
            }
        }
    }
}

/// One step from a snapshot to the next.
pub(super) struct Step<'a> {
    pub(super) session: &'a Session,
    pub(super) lock: &'a Lock,
    pub(super) unacknowledged: &'a Unacknowledged,
    pub(super) changes: &'a Changes,
    /// In whose name it is decided.
    pub(super) by: &'a str,
}

impl Step<'_> {
    /// Reads the lock.
    pub(super) async fn read(&self) -> Attempt<Snapshot> {
        let snapshot = snapshot::read(self.session, self.lock).await?;
        self.changes.resolve(&snapshot);
        Ok(snapshot)
    }

    /// Decides what is granted now, were those requests gone whose czxids are in `leaving`. The servers are asked for
    /// their time only where a window decides. Under a policy that cannot be read requests may leave, and nobody is granted.
    pub(super) async fn plan(&self, snapshot: &Snapshot, leaving: &BTreeSet<i64>) -> Attempt<(Vec<Request>, Plan)> {
        let staying: Vec<_> =
            snapshot.requests.iter().filter(|request| !leaving.contains(&request.czxid)).cloned().collect();
        let unreadable = Policy::default();
        let policy = match snapshot.readable_policy() {
            Ok(Some(policy)) => policy,
            Ok(None) => return Ok((staying, Plan::default())),
            Err(_) if !leaving.is_empty() => {
                let plan = decide(&unreadable, &staying, &snapshot.grants, self.by, 0, false);
                return Ok((staying, plan));
            }
            Err(error) => return Err(error),
        };
        let members = members(self.session, self.lock, policy).await?;
        let decided = |is_open| decide(policy, &staying, &snapshot.grants, self.by, members, is_open);
        let mut plan = decided(true);
        if !plan.granted.is_empty() && !policy.window.is_empty() {
            let now = window::timestamp(self.servers_time().await?);
            if !policy.is_open(now) {
                plan = decided(false);
            }
        }
        plan.fit(&staying, self.lock.requests.len() + 1);
        Ok((staying, plan))
    }

    /// The requests that have expired, by the servers' clock. It is not asked where none can.
    pub(super) async fn expired(&self, snapshot: &Snapshot) -> Attempt<BTreeSet<i64>> {
        if snapshot.requests.iter().all(|request| request.asked.expires.is_none()) {
            return Ok(BTreeSet::new());
        }
        Ok(expired(&snapshot.requests, self.servers_time().await?))
    }

    /// What the servers' clock says, in milliseconds since 1970. Only a write tells: it bears their time.
    pub(super) async fn servers_time(&self) -> Attempt<i64> {
        let (clock, acls) = (self.lock.home.clock(), self.lock.acl().of_new_znode());
        let writes = self.session.writes(self.unacknowledged);
        match writes.set_data(&clock, b"", None).await {
            Ok(stat) => return Ok(stat.mtime),
            Err(zk::Error::NoNode) => {}
            Err(error) => return Err(self.session.failure(&error, "write", &clock)),
        }
        match writes.create(&clock, b"", &zk::CreateMode::Persistent.with_acls(acls)).await {
            Ok((stat, _)) => return Ok(stat.mtime),
            Err(zk::Error::NodeExists) => {}
            Err(error) => return Err(self.session.failure(&error, "create", &clock)),
        }
        let written = writes.set_data(&clock, b"", None).await;
        written.map(|stat| stat.mtime).map_err(|error| self.session.failure(&error, "write", &clock))
    }

    /// Writes a request again, with the data that it has: its unit is there. `false`: somebody was faster.
    pub(super) async fn see(&self, snapshot: &Snapshot, own: &Request) -> Attempt<bool> {
        let path = self.path(own);
        self.with_request(snapshot, |transaction, _| transaction.set_data(&path, &own.data, None)).await
    }

    /// Writes a plan, with the requests in `leaving` deleted in the same transaction: the grants' znode as it is then.
    /// `None`: somebody was faster, and nothing was changed.
    pub(super) async fn write(
        &self,
        snapshot: &Snapshot,
        staying: &[Request],
        plan: &Plan,
        leaving: &BTreeSet<i64>,
        effects: Effects,
    ) -> Attempt<Option<zk::Stat>> {
        let (Some((_, policy)), Some(version)) = (&snapshot.policy, snapshot.version) else {
            return self.begin_grants().await.map(|_| None);
        };
        let data = plan.grants.encode();
        let gone = snapshot.requests.iter().filter(|request| leaving.contains(&request.czxid));
        let gone = gone.map(|request| (self.path(request), request.version)).collect::<Vec<_>>();
        let granted = plan.granted.iter().filter_map(|index| staying.get(*index));
        let granted = granted.map(|request| (self.path(request), &request.data)).collect::<Vec<_>>();
        let mut transaction = self.session.writes(self.unacknowledged).transaction();
        let build = |transaction: &mut Transaction<'_>| {
            transaction.check(&self.lock.requests, *policy)?;
            transaction.set_data(&self.lock.grants, &data, Some(version))?;
            gone.iter().try_for_each(|(path, version)| transaction.delete(path, Some(*version)))?;
            granted.iter().try_for_each(|(path, data)| transaction.set_data(path, data, None))
        };
        build(&mut transaction).map_err(|error| self.session.failure(&error, "write", &self.lock.grants))?;
        let becomes = version.wrapping_add(1);
        let pending = || self.changes.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending().push(Pending { becomes, data, grants: plan.grants.clone(), effects: effects.clone() });
        let committed = self.committed(transaction).await?;
        let _ = pending().pop();
        let Ok(results) = committed else { return Ok(None) };
        self.changes.add(effects);
        let written = results.into_iter().find_map(|result| match result {
            zk::MultiWriteResult::SetData { stat } => Some(stat),
            _ => None,
        });
        let unexpected = || Error::Internal(format!("a write of {} was answered without its stat", self.lock.grants));
        written.map(Some).ok_or_else(|| Failure::Final(unexpected()))
    }

    /// Commits: what was answered, or why a server has refused, because something is not as it was read.
    async fn committed(&self, transaction: Transaction<'_>) -> Attempt<Reply<Vec<zk::MultiWriteResult>>> {
        match transaction.commit().await {
            Ok(results) => Ok(Ok(results)),
            Err(error) if error.is_outdated() => Ok(Err(error.source)),
            Err(error) => Err(self.session.not_committed(&error)),
        }
    }

    /// The path of a request.
    fn path(&self, request: &Request) -> String {
        format!("{}/{}", self.lock.requests, request.znode)
    }

    /// Files a request, or writes one again, if the grants are still as they were read. `false`: somebody was faster.
    ///
    /// Without that check, a server that carries it out late could bring back a request that was filed by a second try,
    /// granted, and given back since: every way out of the queue writes the grants.
    pub(super) async fn with_request(
        &self,
        snapshot: &Snapshot,
        write: impl FnOnce(&mut Transaction<'_>, &zk::CreateOptions<'_>) -> Reply<()>,
    ) -> Attempt<bool> {
        let Some(version) = snapshot.version else { return self.begin_grants().await };
        let options = zk::CreateMode::Persistent.with_acls(self.lock.acl().of_new_znode());
        let mut transaction = self.session.writes(self.unacknowledged).transaction();
        let built = transaction.check(&self.lock.grants, version).and_then(|()| write(&mut transaction, &options));
        built.map_err(|error| self.session.failure(&error, "create", &self.lock.requests))?;
        Ok(self.committed(transaction).await?.is_ok())
    }

    /// Creates the znode of the grants, where somebody has removed it. Always `false`: there is more to do.
    async fn begin_grants(&self) -> Attempt<bool> {
        let (acls, grants) = (self.lock.acl().of_new_znode(), &self.lock.grants);
        let options = zk::CreateMode::Persistent.with_acls(acls);
        let parents = self.session.make_parents(path::parents(grants), acls, self.unacknowledged);
        let creating = self.session.writes(self.unacknowledged).create(grants, &Grants::default().encode(), &options);
        match join(parents, creating).await.1 {
            Ok(_) | Err(zk::Error::NodeExists) => Ok(false),
            Err(error) => Err(self.session.failure(&error, "create", grants)),
        }
    }

    /// Creates the lock with its policy, its grants, and the first request, in one transaction. The parents are created
    /// in the same flight. Grants that are left of a lock whose requests somebody has removed are over. `false`: there is
    /// such a lock already.
    pub(super) async fn begin(&self, snapshot: &Snapshot, policy: &[u8], unit: &str, data: &[u8]) -> Attempt<bool> {
        let (session, lock) = (self.session, self.lock);
        let acls = lock.acl().of_new_znode();
        let options = zk::CreateMode::Persistent.with_acls(acls);
        let request = lock.request(unit).map_err(Failure::Final)?;
        let parents = path::parents(&lock.requests).chain(path::parents(&lock.grants).last());
        let parents = session.make_parents(parents, acls, self.unacknowledged);
        let mut transaction = session.writes(self.unacknowledged).transaction();
        let build = |transaction: &mut Transaction<'_>| {
            transaction.create(&lock.requests, policy, &options)?;
            let nobody = Grants::default().encode();
            match snapshot.version {
                None => transaction.create(&lock.grants, &nobody, &options)?,
                version => transaction.set_data(&lock.grants, &nobody, version)?,
            }
            transaction.create(&request, data, &options)
        };
        build(&mut transaction).map_err(|error| session.failure(&error, "create", &lock.requests))?;
        let (cause, committed) = join(parents, self.committed(transaction)).await;
        match (committed?, cause) {
            (Ok(_), _) => Ok(true),
            (Err(zk::Error::NoNode), Some(error)) => Err(session.failure(&error, "create", &lock.requests)),
            (Err(_), _) => Ok(false),
        }
    }
}

/// What a plan means for others.
pub(super) fn effects(snapshot: &Snapshot, staying: &[Request], plan: &Plan, dropped: &BTreeSet<i64>) -> Effects {
    let granted = plan.granted.iter().filter_map(|index| staying.get(*index)).map(|request| request.unit.clone());
    let since = |unit: &str, czxid: i64| {
        snapshot.request(unit).filter(|request| request.czxid == czxid).map_or(0, |request| request.since)
    };
    let released = plan.over.iter().map(|(unit, grant)| (unit.clone(), since(unit, grant.request)));
    let dropped = snapshot.requests.iter().filter(|request| dropped.contains(&request.czxid));
    let dropped = dropped.map(|request| Dropped {
        unit: request.unit.clone(),
        granted: snapshot.is_granted(request),
        seen: window::rfc3339(request.seen),
        expires: request.asked.expires.unwrap_or_default(),
    });
    Effects { granted: granted.collect(), released: released.collect(), dropped: dropped.collect() }
}

/// Decides over a snapshot, without the requests in `leaving`, and writes if there is something to write: the snapshot as
/// it is then. To decide over that once more would change nothing. `None`: somebody was faster, or there is more to grant
/// than one transaction carries.
pub(super) async fn advance(
    step: &Step<'_>,
    snapshot: Snapshot,
    leaving: &BTreeSet<i64>,
    dropped: &BTreeSet<i64>,
) -> Attempt<Option<Snapshot>> {
    let (staying, plan) = step.plan(&snapshot, leaving).await?;
    if !plan.is_change() && leaving.is_empty() {
        return Ok(Some(snapshot));
    }
    let effects = effects(&snapshot, &staying, &plan, dropped);
    let written = step.write(&snapshot, &staying, &plan, leaving, effects).await?;
    Ok(written.filter(|_| !plan.is_cut).map(|stat| {
        let mut grants = plan.grants;
        grants.complete(stat.mtime, stat.mzxid);
        Snapshot { requests: staying, grants, version: Some(stat.version), ..snapshot }
    }))
}

/// Reads again and again, at once, while somebody else is faster.
///
/// # Errors
/// Those of `once`; [`Failure::Lost`] where somebody else was always faster: then the whole attempt is repeated.
pub(super) async fn repeat<T, A>(mut once: impl FnMut() -> A) -> Attempt<T>
where
    A: std::future::Future<Output = Attempt<Option<T>>>,
{
    for _ in 0..AT_ONCE {
        if let Some(answer) = once().await? {
            return Ok(answer);
        }
    }
    Err(Failure::Lost)
}
