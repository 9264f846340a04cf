//! A lease that a caller has: giving back that one and no other, asking whether it is still there, and being told
//! when it is gone.
//!
//! Layout: see [`names`]. Invariants: a lease of ours has a name that is never used again, so that what is deleted under
//! that name is this very lease; nobody deletes it but who has taken it, and `unlock`, which goes by the identifier.
//!
//! | step | reply lost | session gone | caller gives up | process stopped |
//! | --- | --- | --- | --- | --- |
//! | [`release`] | delete the name again; one that is gone by then was deleted by the first | an ephemeral lease went with it: lost | [`give_back`] goes on in the background | as when the session is gone, if that takes as long as the session timeout |
//! | [`is_held`] | ask again | an ephemeral lease went with it: lost | nothing was changed | the answer is as old as the reply |
//! | [`lost`] | the protocol client renews the watch | an ephemeral lease went with it: lost | nothing was changed | the loss is told as soon as the process goes on |
//!
//! Source: the `Lease` of Curator's `InterProcessSemaphoreV2`, and the session and mutex of etcd's `concurrency`.

use std::time::{Duration, Instant};

use futures::future::join;
use zookeeper_client as zk;

use crate::client::{Client, Outage};
use crate::deadline::{Deadline, Patience};
use crate::error::Result;
use crate::recipe::names;
use crate::session::{Failure, Session, Unacknowledged, PAUSE, UNCHANGED};
use crate::wait::{Budget, Cut};

/// Between two looks for a lease that may come late, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// For how many session timeouts a lease is looked for that may come late.
const TIMEOUTS: u32 = 3;

const STILL_HELD: &str = "the slot may be held still; it is given back as soon as a server answers";

/// A lease, and how it came to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The pool's full path.
    pub pool: String,
    /// Whose slot it is.
    pub identifier: String,
    /// The name of the lease's znode.
    pub lease: String,
    /// The zxid that created the lease: later holders have greater ones. `None` where `lock` has taken it.
    pub czxid: Option<i64>,
    /// The session in which it was taken.
    pub session: i64,
    /// Whether it ends with that session.
    pub ephemeral: bool,
    /// Whether an ephemeral znode in the queue tells that its process lives.
    pub(super) marked: bool,
}

impl Hold {
    /// The full path of the lease.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.pool, self.lease)
    }

    fn is_it(&self, stat: &zk::Stat) -> bool {
        self.czxid.is_none_or(|czxid| stat.czxid == czxid)
    }

    /// The full path of the znode which tells that the process of a kept lease lives.
    fn mark(&self) -> String {
        mark(&names::queue(&self.pool), &self.lease)
    }

    /// The session of the lease, if it is not over. To find out takes long while another is opened in its place.
    async fn own_session(&self, client: &Client, budget: &Budget) -> Result<Option<Session>> {
        match budget.race(Deadline::NEVER, client.existing(self.session)).await {
            Ok(session) => Ok(session),
            Err(Cut::TimedOut) => Err(client.unreachable(budget.spent())),
            Err(Cut::Cancelled) => Err(client.cancelled(budget, &self.pool, UNCHANGED)),
        }
    }
}

/// The path of the znode which tells that the process of a kept lease lives.
pub(super) fn mark(queue: &str, lease: &str) -> String {
    format!("{queue}/{lease}")
}

/// Gives a hold back: `true`; `false` when it was lost before. No other lease is touched.
///
/// # Errors
/// [`crate::Error::Unreachable`], [`crate::Error::ConnectionLost`], [`crate::Error::Cancelled`],
/// [`crate::Error::NoAuth`]. In the first three cases the lease is given back in the background, once there is a connection.
pub async fn release(client: &Client, hold: &Hold, budget: &Budget) -> Result<bool> {
    let released = try_release(client, hold, budget).await;
    if released.is_err() {
        give_back(client, hold.clone());
    }
    released
}

async fn try_release(client: &Client, hold: &Hold, budget: &Budget) -> Result<bool> {
    if hold.ephemeral && hold.own_session(client, budget).await?.is_none() {
        return Ok(false);
    }
    let unacknowledged = Unacknowledged::new(STILL_HELD);
    let attempt = |session: Session| {
        let unacknowledged = &unacknowledged;
        async move { Ok(delete(&session, hold, unacknowledged).await? || unacknowledged.is_any()) }
    };
    client.write(budget, &hold.pool, &unacknowledged, attempt).await
}

async fn delete(session: &Session, hold: &Hold, unacknowledged: &Unacknowledged) -> std::result::Result<bool, Failure> {
    let (lease, mark) = (hold.path(), hold.mark());
    let deleting = session.writes(unacknowledged).delete(&lease, None);
    let unmarking = async {
        if hold.marked && session.id() == hold.session {
            // It goes with the session in any case.
            let _ = session.writes(&Unacknowledged::new(STILL_HELD)).delete(&mark, None).await;
        }
    };
    let (deleted, ()) = join(deleting, unmarking).await;
    let was_there = match deleted {
        Ok(()) => true,
        Err(zk::Error::NoNode) => false,
        Err(error) => return Err(session.failure(&error, "delete", &lease)),
    };
    session.keep_no_more_for(&lease);
    session.keep_no_more_for(&mark);
    Ok(was_there)
}

/// Gives a lease back in the background, for a caller who was told that it may be held, or may come. It ends when the
/// lease is deleted, when it cannot come any more, or with the process.
pub(super) fn give_back(client: &Client, hold: Hold) {
    let client = client.clone();
    client.clone().in_background(|cancel| async move {
        // The outage may last for longer than an ensemble is looked for.
        let budget = Budget::waiting(Patience::Forever, Duration::MAX, cancel);
        take_away(&client, &hold, &budget).await;
    });
}

async fn take_away(client: &Client, hold: &Hold, budget: &Budget) {
    let (started, mut pause) = (Instant::now(), PAUSE);
    let unacknowledged = Unacknowledged::new(STILL_HELD);
    loop {
        // A transaction of a session that is over is not carried out any more.
        let Ok(own) = hold.own_session(client, budget).await else { return };
        if own.is_none() && hold.ephemeral {
            return;
        }
        let attempt = |session: Session| {
            let unacknowledged = &unacknowledged;
            async move { delete(&session, hold, unacknowledged).await }
        };
        let latest = own.as_ref().map_or(Duration::ZERO, |session| session.timeout() * TIMEOUTS);
        drop(own);
        match client.attempts(budget, &hold.pool, Outage::IsOutlasted, attempt).await {
            Ok(Ok(false)) if started.elapsed() < latest => {}
            _ => return,
        }
        if budget.race(Deadline::NEVER, tokio::time::sleep(pause)).await.is_err() {
            return;
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Whether a hold's lease is there, by the leader's state of now.
///
/// # Errors
/// [`crate::Error::Unreachable`], [`crate::Error::Cancelled`], [`crate::Error::AuthFailed`],
/// [`crate::Error::Server`].
pub async fn is_held(client: &Client, hold: &Hold, budget: &Budget) -> Result<bool> {
    if hold.ephemeral && hold.own_session(client, budget).await?.is_none() {
        return Ok(false);
    }
    let lease = &hold.path();
    client
        .answer(budget, &hold.pool, |session| async move {
            let (synced, stat) = join(session.sync(lease), session.check_stat(lease)).await;
            let refused = |error| session.failure(&error, "read", lease);
            synced.map_err(refused)?;
            Ok(stat.map_err(refused)?.is_some_and(|stat| hold.is_it(&stat)))
        })
        .await
}

/// Waits until a hold's lease is gone: by its own watch, or with its session. A connection that is lost is waited for
/// as long as the session may live: when that time has passed the lease counts as gone, before the servers give the slot
/// to another.
///
/// # Errors
/// [`crate::Error::Cancelled`], [`crate::Error::NoAuth`], [`crate::Error::Server`].
pub async fn lost(client: &Client, hold: &Hold, budget: &Budget) -> Result<()> {
    let outcome = gone(client, hold, budget).await;
    if client.was_unlocked(&hold.path()) && outcome.is_ok() {
        return Err(client.cancelled(budget, &hold.pool, UNCHANGED));
    }
    outcome
}

async fn gone(client: &Client, hold: &Hold, budget: &Budget) -> Result<()> {
    let (pool, lease) = (&hold.pool, &hold.path());
    if hold.ephemeral {
        let watching = async {
            while let Some(session) = hold.own_session(client, budget).await? {
                let (closing, asking) = (session.closing(), session.clone());
                tokio::select! {
                    () = closing.cancelled() => return Ok(()),
                    () = asking.silent_for_too_long(lease) => return Ok(()),
                    ended = watch(session, hold) => match ended {
                        Ok(()) | Err(Failure::Gone) => return Ok(()),
                        Err(Failure::Final(error)) => return Err(error),
                        Err(Failure::Lost) => tokio::time::sleep(PAUSE).await,
                    },
                }
            }
            Ok(())
        };
        let outcome = budget.race(Deadline::NEVER, watching).await;
        return outcome.unwrap_or_else(|_| Err(client.cancelled(budget, pool, UNCHANGED)));
    }
    let attempt = |session: Session| async move {
        let closing = session.closing();
        tokio::select! {
            () = closing.cancelled() => Err(Failure::Gone),
            ended = watch(session, hold) => ended,
        }
    };
    let outcome = client.attempts(budget, pool, Outage::IsOutlasted, attempt).await;
    outcome.unwrap_or_else(|_| Err(client.cancelled(budget, pool, UNCHANGED)))
}

/// Waits, in one session, until the lease is gone.
async fn watch(session: Session, hold: &Hold) -> std::result::Result<(), Failure> {
    let lease = &hold.path();
    loop {
        if !session.connected().await {
            return Err(Failure::Gone);
        }
        let (stat, watcher) =
            session.check_and_watch_stat(lease).await.map_err(|error| session.failure(&error, "read", lease))?;
        if !stat.is_some_and(|stat| hold.is_it(&stat)) {
            return Ok(());
        }
        if watcher.changed().await.event_type == zk::EventType::Session {
            return Err(Failure::Gone);
        }
    }
}
