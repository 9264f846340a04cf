//! What has happened to a pool between two readings of it. Pure.

use serde::Serialize;

use super::status::{Holder, Status, Waiter};

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The pool's znode was created.
    PoolCreated,
    /// The pool's znode was deleted.
    PoolDeleted,
    /// The pool stores another limit.
    LimitChanged {
        /// The limit before; `None` where there was none.
        old: Option<i64>,
        /// The limit now.
        new: Option<i64>,
    },
    /// A lease is gone: it was given back, or its session is over.
    Released {
        /// Whose it was.
        identifier: String,
        /// Its fencing token.
        fencing_token: i64,
        /// Whether its session may have ended it.
        ephemeral: bool,
        /// The name of its znode.
        lease: String,
    },
    /// A lease was taken.
    Taken {
        /// Whose it is.
        identifier: String,
        /// Its fencing token.
        fencing_token: i64,
        /// Whether it ends with a session.
        ephemeral: bool,
        /// The name of its znode.
        lease: String,
    },
    /// A queue node is gone, and its contender has taken no slot.
    LeftQueue {
        /// Who waited.
        identifier: String,
        /// The name of its znode.
        queue_node: String,
    },
    /// A contender has entered the queue.
    Queued {
        /// Who waits.
        identifier: String,
        /// 1 is next.
        position: usize,
        /// The name of its znode.
        queue_node: String,
    },
    /// A contender has another position.
    Moved {
        /// Who waits.
        identifier: String,
        /// The position now.
        position: usize,
        /// The position before.
        from: usize,
        /// The name of its znode.
        queue_node: String,
    },
}

/// What has happened between two readings of one pool, in an order in which it may have happened. What came and went
/// between them is not seen.
#[must_use]
pub fn events(before: &Status, after: &Status) -> Vec<Event> {
    let mut events = Vec::new();
    if after.exists && !before.exists {
        events.push(Event::PoolCreated);
    }
    if after.exists && before.max_concurrency != after.max_concurrency {
        events.push(Event::LimitChanged { old: before.max_concurrency, new: after.max_concurrency });
    }
    let gone = before.holders.iter().filter(|old| !after.holders.iter().any(|new| is_same_lease(old, new)));
    events.extend(gone.map(released));
    let left = before.waiters.iter().filter(|old| waiter(after, &old.queue_node).is_none());
    events.extend(
        left.filter(|old| !has_taken(old, before, after))
            .map(|old| Event::LeftQueue { identifier: old.identifier.clone(), queue_node: old.queue_node.clone() }),
    );
    let taken = after.holders.iter().filter(|new| !before.holders.iter().any(|old| is_same_lease(old, new)));
    events.extend(taken.map(taking));
    for new in &after.waiters {
        let (identifier, queue_node) = (new.identifier.clone(), new.queue_node.clone());
        match waiter(before, &new.queue_node) {
            None => events.push(Event::Queued { identifier, position: new.position, queue_node }),
            Some(old) if old.position != new.position => {
                events.push(Event::Moved { identifier, position: new.position, from: old.position, queue_node });
            }
            Some(_) => {}
        }
    }
    if before.exists && !after.exists {
        events.push(Event::PoolDeleted);
    }
    events
}

/// A name alone would do, were it not for a pool that somebody restores from a copy.
fn is_same_lease(one: &Holder, other: &Holder) -> bool {
    one.lease == other.lease && one.fencing_token == other.fencing_token
}

fn waiter<'a>(status: &'a Status, queue_node: &str) -> Option<&'a Waiter> {
    status.waiters.iter().find(|waiter| waiter.queue_node == queue_node)
}

/// Whether a contender whose queue node is gone has exchanged it for a lease. A reading in the midst of that shows both, so
/// that the lease may be one of before.
fn has_taken(waiter: &Waiter, before: &Status, after: &Status) -> bool {
    let mut leases = after.holders.iter().chain(&before.holders);
    leases.any(|lease| lease.identifier == waiter.identifier && lease.since >= waiter.since)
}

fn released(lease: &Holder) -> Event {
    let Holder { identifier, fencing_token, ephemeral, lease, .. } = lease.clone();
    Event::Released { identifier, fencing_token, ephemeral, lease }
}

fn taking(lease: &Holder) -> Event {
    let Holder { identifier, fencing_token, ephemeral, lease, .. } = lease.clone();
    Event::Taken { identifier, fencing_token, ephemeral, lease }
}
