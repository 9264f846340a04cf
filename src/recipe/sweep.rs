//! Places that come late.
//!
//! A request whose connection broke may still be carried out, also after others of the same session that were sent
//! later: the servers refuse what comes by a connection that the session has left, but not once the session has come
//! back to the same server. A place that is made like that belongs to nobody, and stands in the way of all for as long
//! as the session lives. So every request for a place has a name of its own, and one that was not answered and whose
//! place is not there is looked for a while longer.

use std::time::{Duration, Instant};

use zookeeper_client as zk;

use crate::children::or_missing;
use crate::session::{Failure, Session, Unacknowledged, PAUSE};

/// Between two looks, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// For how many session timeouts.
const TIMEOUTS: u32 = 3;

/// Removes the place whose name begins with `prefix`, should it come, in the background and not beyond the session.
pub(super) fn sweep(session: &Session, queue: &str, prefix: String) {
    let (session, queue) = (session.clone(), queue.to_owned());
    let closing = session.closing();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            () = look(&session, &queue, &prefix) => {}
        }
    });
}

async fn look(session: &Session, queue: &str, prefix: &str) {
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

async fn remove(session: &Session, queue: &str, prefix: &str) -> Result<bool, Failure> {
    let listed = or_missing(session.list_children(queue).await);
    let names = listed.map_err(|error| session.failure(&error, "read", queue))?.unwrap_or_default();
    let Some(name) = names.into_iter().find(|name| name.starts_with(prefix)) else {
        return Ok(false);
    };
    let place = format!("{queue}/{name}");
    let unacknowledged = Unacknowledged::new("");
    match session.writes(&unacknowledged).delete(&place, None).await {
        Ok(()) | Err(zk::Error::NoNode) => Ok(true),
        Err(error) => Err(session.failure(&error, "delete", &place)),
    }
}
