//! A lease that a caller has, and asking whether it is still there.

use futures::future::join;
use zookeeper_client as zk;

use super::names;
use crate::client::Client;
use crate::error::Result;
use crate::recipe::queue;
use crate::session::{Session, UNCHANGED};
use crate::wait::deadline::Deadline;
use crate::wait::{Budget, Cut};

/// What a hold is of, for the words of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// A pool: a slot is held.
    Pool,
    /// A party: somebody is in it.
    Party,
}

impl Of {
    /// That a release did not come to its end.
    pub(super) fn still_held(self) -> &'static str {
        match self {
            Self::Pool => "the slot may be held still; it is given back as soon as a server answers",
            Self::Party => "the member may be listed still; it is removed as soon as a server answers",
        }
    }

    /// That the lease may have been taken for nobody.
    pub(crate) fn unresolved(self) -> &'static str {
        match self {
            Self::Pool => "a slot may be held; it is given back as soon as a server answers, while this process lives",
            Self::Party => {
                "the party may have a new member; it is removed as soon as a server answers, while this process lives"
            }
        }
    }

    /// That what was taken was given back.
    pub(super) fn undone(self) -> &'static str {
        match self {
            Self::Pool => "the slot that was taken was given back",
            Self::Party => "the party has been left again",
        }
    }
}

/// A lease, and how it came to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What it is of.
    pub of: Of,
    /// The full path of the pool, or of the party.
    pub pool: String,
    /// The identifier that holds the slot.
    pub identifier: String,
    /// The name of the lease's znode.
    pub lease: String,
    /// The zxid that created the lease: later holders have greater ones. `None` where `lock` has taken it.
    pub czxid: Option<i64>,
    /// The session in which it was taken.
    pub session: i64,
    /// Whether it ends with that session.
    pub ephemeral: bool,
    /// Whether a liveness node in the queue tells that its process lives.
    pub(super) has_liveness_node: bool,
    /// Whether a reason node says why it is held.
    pub(super) has_reason_node: bool,
}

impl Hold {
    /// The membership in a party, which nobody has asked for yet.
    pub(crate) fn of_member(party: &str, identifier: &str, name: String, session: i64, ephemeral: bool) -> Self {
        Self {
            of: Of::Party,
            pool: party.to_owned(),
            identifier: identifier.to_owned(),
            lease: name,
            czxid: None,
            session,
            ephemeral,
            has_liveness_node: false,
            has_reason_node: false,
        }
    }

    /// The same, once the servers have made it.
    pub(crate) fn made(self, czxid: Option<i64>) -> Self {
        Self { czxid, ..self }
    }

    /// The full path of the lease.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.pool, self.lease)
    }

    /// Whether a znode with this stat is the lease, and no later one of the same name.
    pub(super) fn is_it(&self, stat: &zk::Stat) -> bool {
        self.czxid.is_none_or(|czxid| stat.czxid == czxid)
    }

    /// The full path of the liveness node of a kept lease.
    pub(super) fn liveness_node(&self) -> String {
        names::liveness_node(&queue::names::queue(&self.pool), &self.lease)
    }

    /// The session of the lease, if it is not over. It takes as long as another caller needs to open a session in its
    /// place.
    pub(super) async fn own_session(&self, client: &Client, budget: &Budget) -> Result<Option<Session>> {
        match budget.race(Deadline::NEVER, client.existing(self.session)).await {
            Ok(session) => Ok(session),
            Err(Cut::TimedOut) => Err(client.unreachable(budget.elapsed())),
            Err(Cut::Cancelled) => Err(client.cancelled(budget, &self.pool, UNCHANGED)),
        }
    }
}

/// Whether a hold's lease counts as lost, because its session is over for this process. No server is asked.
pub async fn counts_as_lost(client: &Client, hold: &Hold) -> bool {
    hold.ephemeral && client.existing(hold.session).await.is_none()
}

/// Whether a hold's lease is there, by the leader's state of now.
///
/// # Errors
/// [`crate::Error::Unreachable`], [`crate::Error::Cancelled`], [`crate::Error::AuthFailed`], [`crate::Error::Server`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The question is asked again while the time in `budget` lasts. An ephemeral lease whose session is over is not there.
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
