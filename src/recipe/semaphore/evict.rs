//! Taking the slot of an identifier away, by somebody else, who says so: `evict`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{join, join3};
use serde::{Deserialize, Serialize};
use zookeeper_client as zk;

use super::claim::Claim;
use super::hold::{counts_as_lost, Hold};
use super::lease::{self, by_data};
use super::names;
use super::reason::{checked, Reason, MOST_READ};
use crate::children::{self, or_missing};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::printable::printable;
use crate::recipe::queue::names::queue;
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::Budget;

/// After this time the notice of an eviction may be deleted: whoever had the slot has looked by then, or never will.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Who takes a slot away, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eviction {
    /// Who, in the word of the caller: a user, or an address.
    pub by: Option<String>,
    /// Why; and from which process on which host.
    #[serde(flatten)]
    pub why: Reason,
}

impl Eviction {
    /// That of this process.
    ///
    /// # Errors
    /// [`Error::Argument`]: a text that is empty, or too long.
    pub fn new(by: Option<String>, reason: String, job: Option<String>) -> Result<Self> {
        Ok(Self { by: by.map(|by| checked("by", by)).transpose()?, why: Reason::new(reason, job)? })
    }
}

impl std::fmt::Display for Eviction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.why.host.as_ref().map(|host| format!("on {}", printable(host)));
        let pid = self.why.pid.map(|pid| format!("pid {pid}"));
        let job = self.why.job.as_ref().map(|job| format!("job {}", printable(job)));
        let whence: Vec<_> = [host, pid, job].into_iter().flatten().collect();
        f.write_str(&self.by.as_ref().map_or_else(|| "somebody".to_owned(), |by| printable(by)))?;
        if !whence.is_empty() {
            write!(f, " ({})", whence.join(", "))?;
        }
        f.write_str(" has taken it away")?;
        self.why.reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {}", printable(reason)))
    }
}

/// A slot that was taken away.
#[derive(Clone, Debug, Serialize)]
pub struct Evicted {
    /// The pool's full path.
    pub path: String,
    /// Whose slot it was.
    pub identifier: String,
    /// The names of the leases that were deleted.
    pub leases: Vec<String>,
}

/// What stands in a notice.
#[derive(Debug, Serialize, Deserialize)]
struct Notice {
    evicted: Eviction,
}

/// A lease that is about to be deleted.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    /// What tells the lease from a later one of the same name: kazoo uses a name again.
    czxid: Option<i64>,
}

/// Takes the slot of the claim's identifier away: deletes all of its leases, whoever has taken them, and leaves a notice
/// beside the pool which says who did it. The holder is told it with the loss.
///
/// The notice is written in the transaction that deletes the lease. Where the servers refuse it, the lease is deleted
/// without one: who has a slot matters more than who has it no more. The next eviction after a day deletes the notice.
///
/// # Errors
/// [`Error::Argument`]: an empty identifier, which is that of every lease that says none; [`Error::NoAuth`] where the
/// pool's ACL gives no delete permission; [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::ConnectionLost`],
/// [`Error::Cancelled`], [`Error::Server`].
///
/// # Cancellation
/// The error says whether the slot may have been taken away already.
///
/// # Lost connection
/// The same leases are deleted again, and those that are gone by then count as taken away. A lease that the identifier
/// has taken since is left alone.
pub async fn evict(client: &Client, claim: &Claim, eviction: &Eviction, budget: &Budget) -> Result<Evicted> {
    if claim.identifier.is_empty() {
        return Err(Error::argument("identifier", "must not be empty"));
    }
    let unacknowledged = Unacknowledged::new("the slot may have been taken away, or not; ask status");
    let chosen: Mutex<Option<Vec<Target>>> = Mutex::new(None);
    let gone: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let attempt = |session: Session| {
        let (unacknowledged, chosen, gone) = (&unacknowledged, &chosen, &gone);
        async move {
            let known = chosen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let targets = match known {
                Some(targets) => {
                    let synced = session.sync(&claim.pool).await;
                    synced.map_err(|error| session.failure(&error, "read", &claim.pool))?;
                    targets
                }
                None => {
                    let found = find(&session, claim).await?;
                    *chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
                    found
                }
            };
            for target in targets {
                let is_done = gone.lock().unwrap_or_else(PoisonError::into_inner).contains(&target.name);
                if is_done {
                    continue;
                }
                let was_there = take_away(&session, claim, &target, eviction, unacknowledged).await?;
                if was_there || unacknowledged.is_any() {
                    gone.lock().unwrap_or_else(PoisonError::into_inner).push(target.name);
                }
            }
            Ok(())
        }
    };
    client.write(budget, &claim.pool, &unacknowledged, attempt).await?;
    let leases = gone.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Evicted { path: claim.pool.clone(), identifier: claim.identifier.clone(), leases })
}

/// All leases of the claim's identifier. Notices that nobody will read any more are deleted.
async fn find(session: &Session, claim: &Claim) -> Attempt<Vec<Target>> {
    let (pool, tree) = (&claim.pool, names::reasons(&claim.pool));
    let flight = join3(session.sync(pool), session.list_children(&tree), session.list_children(pool));
    let (synced, notices, listed) = flight.await;
    let refused = |error| session.failure(&error, "read", pool);
    synced.map_err(refused)?;
    let listed = or_missing(listed).map_err(refused)?.unwrap_or_default();
    let notices = notices.unwrap_or_default().into_iter().filter(|name| names::is_notice(name)).collect();
    sweep(session, &tree, notices).await;
    let owners = [claim.persistent_owner(), claim.kept_owner()];
    let named = listed.iter().filter(|name| owners.iter().any(|owner| names::is_of(name, owner)));
    let mut found: Vec<_> = named.map(|name| Target { name: name.clone(), czxid: None }).collect();
    let read = by_data(session, claim, listed.into_iter()).await?.into_iter();
    found.extend(read.map(|(name, stat)| Target { name, czxid: Some(stat.czxid) }));
    Ok(found)
}

/// Deletes those notices that are old. One that is left says nothing to anybody.
async fn sweep(session: &Session, tree: &str, notices: Vec<String>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unacknowledged = Unacknowledged::new("");
    for (name, read) in children::read(session, tree, notices).await.unwrap_or_default() {
        let Ok((_, stat)) = read else { continue };
        let age = now.saturating_sub(Duration::from_millis(u64::try_from(stat.mtime).unwrap_or(0)));
        if age > KEPT_FOR {
            let _ = session.writes(&unacknowledged).delete(&format!("{tree}/{name}"), Some(stat.version)).await;
        }
    }
}

/// Deletes one lease, and leaves the notice: whether the lease was there.
async fn take_away(
    session: &Session,
    claim: &Claim,
    target: &Target,
    eviction: &Eviction,
    unacknowledged: &Unacknowledged,
) -> Attempt<bool> {
    let (lease, path) = (claim.path(&target.name), names::notice(&claim.pool, &target.name));
    let notice = serde_json::to_vec(&Notice { evicted: eviction.clone() }).unwrap_or_default();
    let persistent = zk::CreateMode::Persistent.with_acls(claim.acls());
    let (mut leaves_notice, mut has_made_tree) = (true, false);
    loop {
        let stat = session.check_stat(&lease).await.map_err(|error| session.failure(&error, "read", &lease))?;
        let is_it = |stat: zk::Stat| target.czxid.is_none_or(|czxid| stat.czxid == czxid);
        let is_there = stat.is_some_and(is_it);
        if !is_there {
            return Ok(false);
        }
        let mut transaction = session.writes(unacknowledged).transaction();
        let mut built = transaction.delete(&lease, None);
        if leaves_notice {
            built = built.and_then(|()| transaction.create(&path, &notice, &persistent));
        }
        built.map_err(|error| session.failure(&error, "delete", &lease))?;
        let refused = match transaction.commit().await {
            Ok(_) => {
                session.keep_no_more_for(&lease);
                session.keep_no_more_for(&names::liveness_node(&queue(&claim.pool), &target.name));
                lease::sweep(session, &claim.pool, [&target.name].into_iter()).await;
                return Ok(true);
            }
            Err(refused) => refused,
        };
        match (refused.index, &refused.source) {
            (Some(0), zk::Error::NoNode) => return Ok(false),
            // Nobody has given a reason in this pool yet.
            (Some(1), zk::Error::NoNode) if !has_made_tree => {
                has_made_tree = true;
                leaves_notice = make_tree(session, claim, unacknowledged).await?;
            }
            (Some(1), _) => leaves_notice = false,
            _ => return Err(session.not_committed(&refused)),
        }
    }
}

/// Makes the tree beside the pool: whether there is one then.
async fn make_tree(session: &Session, claim: &Claim, unacknowledged: &Unacknowledged) -> Attempt<bool> {
    match lease::make_reason_tree(session, claim, unacknowledged).await {
        Ok(()) | Err(zk::Error::NodeExists) => Ok(true),
        Err(error) => match session.failure(&error, "create", &names::reasons(&claim.pool)) {
            Failure::Final(_) => Ok(false),
            failure => Err(failure),
        },
    }
}

/// Who has taken a hold's lease away, where somebody has left a notice of that. Where the session of the lease is over
/// for this process no server is asked: then the lease is lost by that.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Cancelled`], [`Error::AuthFailed`], [`Error::Server`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The notice is read again while the time in `budget` lasts.
pub async fn eviction(client: &Client, hold: &Hold, budget: &Budget) -> Result<Option<Eviction>> {
    if counts_as_lost(client, hold).await {
        return Ok(None);
    }
    let notice = &names::notice(&hold.pool, &hold.lease);
    let read = client
        .answer(budget, &hold.pool, |session| async move {
            let (synced, read) = join(session.sync(notice), session.get_data(notice)).await;
            synced.map_err(|error| session.failure(&error, "read", notice))?;
            match read {
                Ok((data, _)) => Ok(Some(data)),
                Err(zk::Error::NoNode | zk::Error::NoAuth) => Ok(None),
                Err(error) => Err(session.failure(&error, "read", notice)),
            }
        })
        .await?;
    let short = read.filter(|data| data.len() <= MOST_READ);
    Ok(short.and_then(|data| serde_json::from_slice::<Notice>(&data).ok()).map(|notice| notice.evicted))
}
