//! Sockets that outlive the query that they were opened for. A query whose last reply comes late finds its port open: it is
//! no error at the host that sent it; and the next query has a socket already.
//!
//! They are taken and given back with the GIL alone, so that no fork finds the lock taken. What a child has inherited is its
//! parent's: it is closed. A descriptor that somebody has closed may be of something else by now: it is left alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::runtime::{id, Id};
use crate::confd::socket::Socket;

/// As many are kept.
const MOST: usize = 4;
/// So long one is used: whoever has seen its port knows it for no longer.
const LIFETIME: Duration = Duration::from_secs(60);
/// More datagrams than this are not late replies: somebody sends them to the port, and it is given up.
const MOST_LATE: usize = 64;

struct Spare {
    of: Id,
    is_ipv4: bool,
    socket: Arc<Socket>,
}

static SPARE: Mutex<Vec<Spare>> = Mutex::new(Vec::new());

/// A socket of a family that nobody uses.
pub(super) fn take(is_ipv4: bool) -> Option<Arc<Socket>> {
    let mut spare = locked();
    // The last that was given back: the others grow old.
    while let Some(at) = spare.iter().rposition(|it| it.is_ipv4 == is_ipv4 || !it.of.is_of_this_process()) {
        let found = spare.remove(at);
        if !found.socket.is_there() {
            std::mem::forget(found);
        } else if found.of.is_of_this_process() && found.socket.age() < LIFETIME && found.socket.empty(MOST_LATE) {
            return Some(found.socket);
        }
    }
    None
}

/// Keeps a socket for the next query.
pub(super) fn give_back(is_ipv4: bool, socket: Arc<Socket>) {
    let mut spare = locked();
    if spare.len() < MOST {
        spare.push(Spare { of: id(), is_ipv4, socket });
    }
}

fn locked() -> MutexGuard<'static, Vec<Spare>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}
