//! N slots on a path: at most N identifiers hold a lease there. A lock is a semaphore of one slot.
//!
//! First in, first out among those who wait, kazoo's and Salt's contenders included. A hold belongs to
//! an identifier: acquiring again is idempotent and not counted, and anybody who names the identifier
//! releases it. What a contender does is in `place`, what znodes are called in [`names`].
//!
//! Source: the semaphore of kazoo (`kazoo.recipe.lock.Semaphore`), whose znodes these are; the lock
//! recipe of ZooKeeper's documentation; lost replies after Curator's protected creates.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use zookeeper_client as zk;

use crate::acl;
use crate::deadline::{Deadline, Patience};
use crate::ensemble::Ensemble;
use crate::error::{Error, Result};
use crate::path;
use crate::recipe::lease;
pub use crate::recipe::place::Positions;
use crate::recipe::place::{Left, Outcome, Place};
use crate::recipe::{children, names};
use crate::record::{self, Limit};
use crate::session::{self, Doubt, Failure, Session};
use crate::settings::Settings;
use crate::wait::{Budget, Cancel, Cut};

/// How long a caller who gave up waits for its place to be tidied away.
const GRACE: Duration = Duration::from_secs(1);

/// What a caller who gave up is left with.
const UNTAKEN: &str = "this call took no slot, and left no place in the queue";
const UNTIDIED: &str =
    "this call took no slot; its place in the queue goes when there is a connection, or with the session";
const IN_DOUBT: &str = "a slot may be held; unlock, or ask lock_holders";
/// Bytes. A server hangs up on a request beyond 1 MiB, and does not say why.
const IDENTIFIER_LIMIT: usize = 64 * 1024;

type Attempt<T> = std::result::Result<T, Failure>;

/// Who wants a slot of which pool.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The pool's full path.
    pub pool: String,
    /// Whose slot it is to be.
    pub identifier: String,
    /// The most leases the pool may hold; at least 1.
    pub limit: u32,
    /// Whether the lease ends with the session.
    pub ephemeral: bool,
    /// What the created znodes permit; empty for everything to everybody.
    pub acl: acl::List,
    persistent_owner: String,
}

impl Claim {
    /// A claim on the pool at the caller's `path`, below the chroot of `settings`.
    ///
    /// # Errors
    /// [`Error::Argument`]: a bad path, or an identifier too long for a request.
    pub fn new(settings: &Settings, path: &str, identifier: String, limit: u32, ephemeral: bool) -> Result<Self> {
        let pool = settings.path(path)?;
        if identifier.len() > IDENTIFIER_LIMIT {
            return Err(Error::argument("identifier", format!("must not be longer than {IDENTIFIER_LIMIT} bytes")));
        }
        let persistent_owner = names::persistent_owner(&identifier);
        Ok(Self { pool, identifier, limit, ephemeral, acl: settings.acl.clone(), persistent_owner })
    }

    /// Makes the pool, with its parents: `true`; one that is there stays as it is: `false`.
    pub(super) async fn make_pool(&self, session: &Session) -> Attempt<bool> {
        let persistent = zk::CreateMode::Persistent.with_acls(self.acls());
        let limit = Limit::encode(self.limit);
        let parents = session.make_parents(path::parents(&self.pool), self.acls());
        let pool = session.client().create(&self.pool, limit.as_bytes(), &persistent);
        let (cause, pool) = join(parents, pool).await;
        match pool {
            Ok(_) => Ok(true),
            Err(zk::Error::NodeExists) => Ok(false),
            Err(error) => {
                let cause = cause.filter(|_| error == zk::Error::NoNode).unwrap_or(error);
                Err(session.failure(&cause, "create", &self.pool))
            }
        }
    }

    pub(super) fn acls(&self) -> zk::Acls<'_> {
        session::acls(&self.acl)
    }

    pub(super) fn lease_options(&self) -> zk::CreateOptions<'_> {
        let mode = if self.ephemeral { zk::CreateMode::Ephemeral } else { zk::CreateMode::Persistent };
        mode.with_acls(self.acls())
    }

    /// How the names of the leases begin that are as good as the one claimed, in a session.
    pub(super) fn owner(&self, session: i64) -> Cow<'_, str> {
        if self.ephemeral {
            names::ephemeral_owner(&self.identifier, session).into()
        } else {
            self.persistent_owner().into()
        }
    }

    /// How the names of the identifier's persistent leases begin.
    pub(super) fn persistent_owner(&self) -> &str {
        &self.persistent_owner
    }
}

/// What is known of a claim beyond the life of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The place named in a transaction for the lease that was sent and whose outcome is not known.
    pub(super) risked: Option<String>,
    /// The name that the lease gets, in whichever session it is taken.
    pub(super) lease: Option<String>,
    /// The limit asked for was the pool's when the wait began; a change since then is obeyed.
    pub(super) admitted: bool,
}

impl Progress {
    /// Whether the lease may have been taken.
    pub(super) fn is_unsure(&self) -> bool {
        self.risked.is_some()
    }
}

/// How a claim fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// A slot was taken by this call.
    Taken,
    /// The identifier held one before.
    Already,
    /// The time was up; nothing is held.
    No,
}

/// Acquires a slot.
///
/// A session that expires loses the place in the queue, and the wait goes on from its end with the
/// time that is left. An ensemble that cannot be reached at the start is an error within its connect
/// timeout; one that goes away later is waited for. On cancel, and on any error, this call holds no
/// slot and leaves no znode, unless the error says otherwise. `positions` is told the place in the
/// queue while it waits.
///
/// # Errors
/// [`Error::LimitMismatch`], [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`],
/// [`Error::ConnectionLost`] if at the end of the time nobody answers who could say whether the slot
/// is held, [`Error::Cancelled`], [`Error::Server`].
pub async fn acquire(
    ensemble: &Ensemble,
    claim: Claim,
    budget: &Budget,
    positions: Option<Positions>,
) -> Result<Acquired> {
    contend(ensemble, claim, budget, positions, false).await
}

async fn contend(
    ensemble: &Ensemble,
    claim: Claim,
    budget: &Budget,
    positions: Option<Positions>,
    force: bool,
) -> Result<Acquired> {
    // The place before one's own, or, as the first, the pool and its children.
    let ensemble = &ensemble.with_room(2 * claim.pool.len() + names::PLACE_SUFFIX);
    let claim = Arc::new(claim);
    let mut progress = Progress::default();
    let in_doubt = || ensemble.connection_lost(&claim.pool, IN_DOUBT);
    let mut opened = ensemble.session(budget, &claim.pool).await;
    loop {
        let session = match opened {
            Err(_) if progress.is_unsure() => return Err(in_doubt()),
            opened => opened?,
        };
        let mut place = Place::new(session.clone(), claim.clone(), progress, positions.clone());
        place.force = force;
        let end = budget.race(Deadline::NEVER, place.contend(budget.patience())).await;
        progress = place.progress();
        if matches!(end, Ok(Err(Failure::Gone))) {
            opened = ensemble.session_again(budget, &claim.pool).await;
            continue;
        }
        let left = match leave(place, &session).await {
            Some(Err(error)) if !progress.is_unsure() && !matches!(end, Ok(Err(_) | Ok(Outcome::Already))) => {
                return Err(error);
            }
            left => left.and_then(Result::ok),
        };
        if force && matches!(end, Ok(Ok(Outcome::Taken))) {
            // The slot is held, whatever becomes of this.
            let _ = tokio::time::timeout(GRACE, lease::leave_one(&session, &claim)).await;
        }
        if left == Some(Left::Lease) && !matches!(end, Ok(Ok(_)) | Err(Cut::TimedOut)) {
            give_back(ensemble, &claim).await.map_err(|_| in_doubt())?;
        }
        return match (end, left) {
            (Ok(Ok(Outcome::Taken)), _) | (Ok(Ok(Outcome::Full)) | Err(Cut::TimedOut), Some(Left::Lease)) => {
                Ok(Acquired::Taken)
            }
            (Ok(Ok(Outcome::Already)), _) => Ok(Acquired::Already),
            (_, None) if progress.is_unsure() => Err(in_doubt()),
            (Ok(Ok(Outcome::Full)), _) => Ok(Acquired::No),
            (Ok(Err(Failure::Final(error))), _) => Err(error),
            (Err(Cut::Cancelled), None) => Err(ensemble.cancelled(budget, &claim.pool, UNTIDIED)),
            (Err(Cut::Cancelled), _) => Err(ensemble.cancelled(budget, &claim.pool, UNTAKEN)),
            (Err(Cut::TimedOut), Some(Left::Nothing)) if session.is_connected() => Ok(Acquired::No),
            _ => Err(ensemble.unreachable(budget.spent())),
        };
    }
}

/// Leaves the queue: in the background where that takes longer than the grace, or where there is no
/// connection to wait for; then, and where a lease may still come, `None`. The error: a place that may not be removed.
async fn leave(place: Place, session: &Session) -> Option<Result<Left>> {
    if place.is_left() {
        return Some(Ok(Left::Nothing));
    }
    let grace = if session.is_connected() { GRACE } else { Duration::ZERO };
    let leaving = tokio::spawn(place.leave());
    match tokio::time::timeout(grace, leaving).await.ok()?.ok()? {
        Ok(left) => Some(Ok(left)),
        Err(Failure::Final(error)) => Some(Err(error)),
        Err(Failure::Lost | Failure::Gone) => None,
    }
}

/// Gives back a slot that was taken for a caller who has given up.
///
/// # Errors
/// As [`release`], within a second.
async fn give_back(ensemble: &Ensemble, claim: &Claim) -> Result<bool> {
    release(ensemble, claim, &Budget::answer(Patience::For(GRACE), GRACE, Cancel::default())).await
}

/// Gives back a slot that was taken for a caller who was interrupted at that moment; what to tell instead.
pub async fn undo(ensemble: &Ensemble, claim: &Claim) -> Error {
    match give_back(ensemble, claim).await {
        Ok(_) => {
            let consequence = "the slot that was taken was given back";
            Error::Cancelled { path: claim.pool.clone(), by: "a signal", consequence }
        }
        Err(_) => ensemble.connection_lost(&claim.pool, IN_DOUBT),
    }
}

/// Takes a slot at once, whatever the count, whoever waits, and whatever number the pool stores. It goes by
/// way of a place in the queue all the same: a request that comes late finds that gone, and does nothing.
///
/// # Errors
/// As [`acquire`], without the mismatch; [`Error::Unreachable`] also where the servers took too long.
pub async fn force(ensemble: &Ensemble, claim: Claim, budget: &Budget) -> Result<Acquired> {
    match contend(ensemble, claim, budget, None, true).await? {
        Acquired::No => Err(ensemble.unreachable(budget.spent())),
        acquired => Ok(acquired),
    }
}

/// Releases the identifier's slot: `true` when it held one, `false` when not. Nothing is created.
///
/// A lease that was taken in this session goes with one write; if there is none, all leases of the
/// identifier are looked for, kazoo's and those of other sessions. After a lost reply the same leases are
/// deleted again, and those that are gone by then count as released.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::Cancelled`],
/// [`Error::Server`].
pub async fn release(ensemble: &Ensemble, claim: &Claim, budget: &Budget) -> Result<bool> {
    let doubt = Doubt::new("the slot may have been given back, or not; ask lock_holders");
    let chosen = lease::Chosen::default();
    let attempt = |session: Session| {
        let (doubt, chosen) = (&doubt, &chosen);
        async move { lease::remove(&session, claim, doubt, chosen).await }
    };
    ensemble.write(budget, &claim.pool, &doubt, attempt).await
}

/// The identifiers that hold a slot, in no order. A missing pool has none. Nothing is created.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::Cancelled`].
pub async fn holders(ensemble: &Ensemble, pool: &str, budget: &Budget) -> Result<Vec<String>> {
    ensemble
        .answer(budget, pool, |session| async move {
            let leases = children(&session, pool).await?;
            let mut holders = Vec::with_capacity(leases.len());
            for (name, read) in lease::read(&session, pool, leases).await? {
                match read {
                    Ok((data, _)) => holders.push(record::identifier(&data).into_owned()),
                    Err(zk::Error::NoNode) => {}
                    Err(error) => return Err(session.failure(&error, "read", &format!("{pool}/{name}"))),
                }
            }
            Ok(holders)
        })
        .await
}
