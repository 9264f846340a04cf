//! Giving a queue node up, until none is left.

use zookeeper_client as zk;

use super::contender::{Contender, Stage};
use super::sweep::sweep;
use crate::children;
use crate::session::{Attempt, Failure, PAUSE};

impl Contender {
    /// Gives the queue node up. Waits for a connection until the session is over: then the servers remove the queue
    /// node.
    pub(crate) async fn withdraw(mut self) -> Attempt<()> {
        let ended = loop {
            match self.try_withdraw(|_| {}).await {
                Err(Failure::Lost) => {
                    self.has_lost_a_reply();
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Failure::Gone) => break Ok(()),
                ended => break ended,
            }
        };
        self.has_left();
        ended
    }

    /// Deletes the queue node, whichever name it got, and calls `deleted` with the name of each that was there. After
    /// [`Failure::Lost`] it is called again.
    pub(crate) async fn try_withdraw(&mut self, mut deleted: impl FnMut(&str)) -> Attempt<()> {
        let nodes = match &self.stage {
            Stage::Outside => Vec::new(),
            Stage::Queued(name) if !self.is_stale => vec![name.clone()],
            Stage::Entering | Stage::Queued(_) => {
                let queue = children::list(&self.session, &self.queue).await?;
                queue.into_iter().filter(|name| name.starts_with(&self.prefix)).collect()
            }
        };
        if nodes.is_empty() && self.stage == Stage::Entering {
            sweep(&self.session, &self.queue, self.prefix.clone());
            self.stage = Stage::Outside;
        }
        for name in nodes {
            let node = self.path(&name);
            match self.session.writes(&self.unacknowledged).delete(&node, None).await {
                Ok(()) => deleted(&name),
                Err(zk::Error::NoNode) => {}
                Err(error) => return Err(self.session.failure(&error, "delete", &node)),
            }
        }
        Ok(())
    }
}

/// The safety net for a contender that is dropped without having withdrawn, by a panic for instance.
impl Drop for Contender {
    fn drop(&mut self) {
        if self.stage == Stage::Outside || self.session.is_over() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.remaining().withdraw());
        }
    }
}
