//! Removing a queue node that a server makes late.
//!
//! A server may carry out a request whose connection broke, even after others of the same session that were sent later:
//! the servers refuse a request by a connection that the session has left, but not once the session has come back to
//! the same server. A queue node that is made like that belongs to no contender, and holds up all behind it for as long
//! as the session lives. So every request for a queue node has a unique name of its own, and where such a request was
//! not answered and its queue node is not there, the queue is searched for that name for a while longer.

use std::time::{Duration, Instant};

use zookeeper_client as zk;

use crate::children::or_missing;
use crate::session::{Attempt, Failure, Session, Unacknowledged, PAUSE};

/// The longest pause between two searches.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// For how many session timeouts the queue is searched.
const TIMEOUTS: u32 = 3;

/// Removes the queue node whose name begins with `prefix`, should it come: in the background, and no longer than the
/// session lives.
pub(super) fn sweep(session: &Session, queue: &str, prefix: String) {
    let (session, queue) = (session.clone(), queue.to_owned());
    let closing = session.closing();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            () = search(&session, &queue, &prefix) => {}
        }
    });
}

async fn search(session: &Session, queue: &str, prefix: &str) {
    let (end, mut pause) = (Instant::now() + session.timeout() * TIMEOUTS, PAUSE);
    while Instant::now() < end {
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        match remove(session, queue, prefix).await {
            Ok(false) | Err(Failure::Lost) => {}
            Ok(true) | Err(Failure::Gone | Failure::Final(_)) => return,
        }
    }
}

async fn remove(session: &Session, queue: &str, prefix: &str) -> Attempt<bool> {
    let listed = or_missing(session.list_children(queue).await);
    let names = listed.map_err(|error| session.failure(&error, "read", queue))?.unwrap_or_default();
    let Some(name) = names.into_iter().find(|name| name.starts_with(prefix)) else {
        return Ok(false);
    };
    let node = format!("{queue}/{name}");
    let unacknowledged = Unacknowledged::new("");
    match session.writes(&unacknowledged).delete(&node, None).await {
        Ok(()) | Err(zk::Error::NoNode) => Ok(true),
        Err(error) => Err(session.failure(&error, "delete", &node)),
    }
}
