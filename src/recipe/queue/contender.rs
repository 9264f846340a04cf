//! One contender's queue node: entering the queue, and learning where in it the node stands.

use std::future::Future;
use std::sync::Arc;

use futures::future::{join, join3, BoxFuture, OptionFuture};
use zookeeper_client as zk;

use super::names;
use super::order::{self, Standing};
use super::own_watch::OwnWatch;
use super::sweep::sweep;
use crate::acl;
use crate::error::Error;
use crate::session::{Attempt, Failure, Session, Unacknowledged};

/// Where a waiter's position in the queue goes: 1 is next, 0 is not in it yet.
pub type Positions = tokio::sync::watch::Sender<usize>;

/// What a contender reads of its queue, perhaps together with other znodes in the same request.
pub(crate) trait Listing {
    /// The names of the queue's children.
    fn queue(&self) -> &[String];
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is no queue node.
    Outside,
    /// The queue node was asked for, and the reply has not come.
    Entering,
    /// The queue node has this name.
    Queued(String),
}

/// A contender in a queue, in one session.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(super) session: Session,
    /// The path of the queue.
    pub(super) queue: String,
    /// The unique name under which the queue node was asked for last.
    pub(super) prefix: String,
    pub(super) stage: Stage,
    /// A reply was lost: what a server shows may be older than what was done.
    pub(super) is_stale: bool,
    pub(super) positions: Option<Positions>,
    /// The watch on the queue node itself, from the first wait on.
    pub(super) own_watch: OwnWatch,
    /// The data of the queue node: the identifier.
    data: Arc<str>,
    acl: acl::List,
    /// The writes that no server has answered. What became of them is read from the queue, by the unique names.
    pub(super) unacknowledged: Unacknowledged,
}

impl Contender {
    /// A contender that is not in its queue yet. Its queue node is to carry `data` and `acl`; `positions` is told where
    /// it stands.
    pub(crate) fn new(
        session: Session,
        queue: String,
        data: Arc<str>,
        acl: acl::List,
        positions: Option<Positions>,
    ) -> Self {
        Self {
            session,
            queue,
            prefix: names::node(),
            stage: Stage::Outside,
            is_stale: false,
            positions,
            own_watch: OwnWatch::default(),
            data,
            acl,
            unacknowledged: Unacknowledged::new(""),
        }
    }

    /// The name of the queue node, while it is known to have one.
    pub(crate) fn node(&self) -> Option<&str> {
        match &self.stage {
            Stage::Queued(name) => Some(name),
            Stage::Outside | Stage::Entering => None,
        }
    }

    /// The path of a queue node.
    pub(crate) fn path(&self, node: &str) -> String {
        format!("{}/{node}", self.queue)
    }

    /// Whether there is no queue node, nor one that may still come.
    pub(crate) fn is_outside(&self) -> bool {
        self.stage == Stage::Outside
    }

    /// Notes that there is no queue node any more, because the contender's own transaction has deleted it; or that
    /// nothing more can be done about one. Dropping the contender sends nothing then.
    pub(crate) fn has_left(&mut self) {
        self.stage = Stage::Outside;
    }

    /// Notes that a reply was lost. The next read syncs first, so that it shows what was done before.
    pub(crate) fn has_lost_a_reply(&mut self) {
        self.is_stale = true;
    }

    /// Enters the queue if need be, and reads it. `read` sends the request, which has to list the queue. `None`: there
    /// is no queue yet.
    pub(crate) async fn observe<L: Listing, R>(&mut self, read: impl FnOnce() -> R) -> Attempt<Option<L>>
    where
        R: Future<Output = Attempt<L>>,
    {
        if self.stage == Stage::Outside {
            return self.enter(None, read).await;
        }
        let listing = if self.is_stale {
            let (synced, listing) = join(self.session.sync(&self.queue), read()).await;
            synced.map_err(|error| self.session.failure(&error, "read", &self.queue))?;
            listing?
        } else {
            read().await?
        };
        self.is_stale = false;
        if self.stage == Stage::Entering {
            self.stage = match order::own_node(listing.queue(), &self.prefix) {
                Some(name) => Stage::Queued(name.to_owned()),
                None => {
                    let lost = std::mem::replace(&mut self.prefix, names::node());
                    sweep(&self.session, &self.queue, lost);
                    Stage::Outside
                }
            };
        }
        Ok(Some(listing))
    }

    /// Enters the queue, and makes it first where `before` is given: requests that were sent already, for what has to
    /// be there before the queue, and why one was refused. Everything is one flight. `None`: there is no queue yet, and
    /// it was not to be made.
    pub(crate) async fn enter<L: Listing, R>(
        &mut self,
        before: Option<BoxFuture<'_, Option<zk::Error>>>,
        read: impl FnOnce() -> R,
    ) -> Attempt<Option<L>>
    where
        R: Future<Output = Attempt<L>>,
    {
        self.stage = Stage::Entering;
        let acls = self.acl.of_new_znode();
        let persistent = zk::CreateMode::Persistent.with_acls(acls);
        let writes = self.session.writes(&self.unacknowledged);
        let making = before.map(|before| join(before, writes.create(&self.queue, b"", &persistent)));
        let prefix = format!("{}/{}", self.queue, self.prefix);
        let sequential = zk::CreateMode::EphemeralSequential.with_acls(acls);
        let entering = writes.create(&prefix, self.data.as_bytes(), &sequential);
        let (made, entered, listing) = join3(OptionFuture::from(making), entering, read()).await;
        match entered {
            Ok((_, sequence)) => {
                self.stage = Stage::Queued(format!("{}{sequence}", self.prefix));
                Ok(Some(listing?))
            }
            Err(zk::Error::NoNode) => {
                self.stage = Stage::Outside;
                let cause = made.and_then(|(refused, queue)| {
                    refused.or_else(|| queue.err().filter(|error| *error != zk::Error::NodeExists))
                });
                cause.map_or(Ok(None), |error| Err(self.session.failure(&error, "create", &self.queue)))
            }
            Err(error) => {
                let failure = self.session.failure(&error, "create", &self.queue);
                if matches!(failure, Failure::Final(_)) {
                    self.stage = Stage::Outside;
                }
                Err(failure)
            }
        }
    }

    /// Where the queue node stands. `None`: there is none, and the contender has to enter again.
    ///
    /// # Errors
    /// [`Failure::Final`] where the servers give no order any more, because the counter of the queue is used up.
    pub(crate) fn standing<'a>(&mut self, queue: &'a [String]) -> Attempt<Option<Standing<'a>>> {
        let Stage::Queued(mine) = &self.stage else {
            return Ok(None);
        };
        let standing = order::standing(queue, mine);
        if standing == Standing::Absent {
            log::info!("the queue node {} is not there any more", self.path(mine));
            self.stage = Stage::Outside;
            return Ok(None);
        }
        if !names::is_in_order(mine) {
            let reason = "its counter is used up: delete it while nobody waits there".to_owned();
            return Err(Failure::Final(Error::Server { action: "enter", path: self.queue.clone(), reason }));
        }
        Ok(Some(standing))
    }

    /// How many queue nodes are before the contender's.
    pub(crate) fn ahead(&self, queue: &[String]) -> usize {
        self.node().and_then(|mine| order::position(queue, mine)).map_or(0, |position| position - 1)
    }

    /// A contender for the same queue node, whichever name it got: the unique prefix finds it.
    pub(super) fn remaining(&self) -> Self {
        let (session, queue, data) = (self.session.clone(), self.queue.clone(), self.data.clone());
        let mut remaining = Self::new(session, queue, data, self.acl.clone(), None);
        remaining.prefix.clone_from(&self.prefix);
        remaining.stage = Stage::Entering;
        remaining
    }
}
