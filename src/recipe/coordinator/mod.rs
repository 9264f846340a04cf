//! Ask now, be granted later: requests that outlive the process that made them, and grants that come in their order.
//!
//! A *unit*, such as a host, files a request for a *lock* and goes on. In a later run it finds that it was granted, acts,
//! and gives the lock back. Nobody waits, and there is no leader: whoever has changed something decides right after it
//! what is granted now, by a pure function of the requests in their order, the grants, and the policy.
//!
//! # Layout
//!
//! ```text
//! R                            persistent   one coordinator, `<root>/<key>`
//! R/clock                      persistent   written to learn the servers' time; empty
//! R/requests/<lock>            persistent   a lock; the data is its policy, a JSON object
//! R/requests/<lock>/<unit>     persistent   a request; the data is JSON: asked, reason, labels, expires
//! R/grants/<lock>              persistent   a JSON object: {unit: {"request": czxid, "granted": ms, "token": zxid}}
//! ```
//!
//! In names of locks and units, what a znode's name may not have is written as `%2F`. A grant that the newest write of
//! `R/grants/<lock>` has added has neither `granted` nor `token` yet: these are the znode's own mtime, in milliseconds
//! since 1970, and its mzxid. The next write puts them down. So both are the servers', and no clock of a host counts.
//!
//! # Invariants
//!
//! - The order of the queue is that of the requests' czxids. No clock and no counter gives it.
//! - A grant counts only while the request is there whose czxid it names. A unit that asks again is at the end of the queue.
//! - `R/grants/<lock>` is written by compare-and-set only, in one transaction that checks that the policy is the version
//!   that was read. So two who decide at once, or one who decides late, cannot both be right.
//! - A decision reads the grants before the requests. So a grant whose request it does not find is over for good.
//! - The transaction that grants writes the request of each unit that it grants, with the data that it has. So a watch on
//!   its own request tells a unit, and nobody else, of its grant; and no request is granted that is gone by then.
//! - The transaction that takes a granted request away grants to the next as well. So no process that dies can come
//!   between the two.
//! - The transaction that files a request, or writes it again, checks that the grants are as they were read; and every way
//!   out of the queue writes the grants. So a request that a server files late, after a second try was granted and given
//!   back, is not there again.
//! - A request is deleted only in the version that was read. So a unit that was seen meanwhile is not dropped.
//! - A transaction is within what servers take, whatever the number of requests: those at the end of the queue are left to
//!   the next, right after it.
//! - The token of a grant is the zxid that wrote it. Later grants of the same lock have greater ones.
//! - Among those whom the policy lets in, the first in the queue is granted first. Whoever is passed over could not have
//!   been granted even without those behind.
//! - Locks do not contend with each other.
//! - A `custom` policy is decided by the programs that have it, and by nobody else: whoever takes a granted request away
//!   under such a policy grants to nobody, and the next program that has it decides.
//!
//! # Steps
//!
//! | step | reply lost | session gone | caller gives up | process stopped |
//! | --- | --- | --- | --- | --- |
//! | file: create the request; with it the lock and its policy, in one transaction, where there is none | create it again: one that is there is this one, since the unit is in its name | the same in a new session | the error says that it may have been filed | the request stays, with its position |
//! | decide: read grants, policy and requests; write the grants if they are the version that was read | read: what was granted is there, and is not granted again | the same in a new session | the error says that somebody may have been granted the lock | nothing was granted, or all of it was; the next who decides goes on |
//! | release, withdraw, revoke: delete the request, and grant to the next, in one transaction | read: a request of another czxid, or none, says that it was done | the same in a new session | the error says that it may have been given back | it was given back and granted to the next, or neither |
//! | drop what has expired: ask the servers for their time, then as for release | as for release | as for release | as for release | as for release |
//! | grant by an operator: as decide, whatever the policy says | read: a grant that names the request is this one | the same in a new session | the error says that it may have been granted | as for decide |
//! | wait for grants: watch the own request of each lock | the protocol client renews the watches | watch again | nothing was changed | what was granted meanwhile is told when the process goes on |
//!
//! # When nobody decides
//!
//! | what happened | who goes on |
//! | --- | --- |
//! | a process died between filing and deciding | the unit itself in its next run or by its beacon; or whoever decides on this lock before that |
//! | a window has opened, or a party has grown | the beacons of those who wait; `handle`; whoever decides next |
//! | a granted request was taken away under a `custom` policy | the next program that has the policy |
//! | a unit died while it was granted | its request stays until its next run succeeds, an operator revokes it, or it expires |
//!
//! # Source
//!
//! `charmhelpers.coordinator` of Juju's charms, whose rules these are: requests that are remembered, grants that match
//! their request, locks that are released at the end of a run that succeeded. There the order is that of the units' clocks,
//! and the leader decides.
//!
//! # Files
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`names`] | what the znodes are called (pure) |
//! | [`policy`], [`window`] | what a policy says, and when a window is open (pure) |
//! | [`document`] | what the data of requests and grants means (pure) |
//! | [`decide`] | what is granted now, as far as one transaction carries it; what has expired, what can never be granted (pure) |
//! | `lock`, `snapshot` | a lock's znodes, and reading them |
//! | `change` | the one transaction that changes them |
//! | `acquire`, `settle`, `release`, `grant` | filing a request; deciding; giving back; an operator's decision |
//! | `status`, `watch` | who holds and who waits; waiting for grants |

mod acquire;
mod change;
pub mod decide;
pub mod document;
mod grant;
mod lock;
pub mod names;
pub mod policy;
mod release;
mod settle;
mod snapshot;
mod status;
mod watch;
pub mod window;

pub use acquire::{acquire, foretell, Acquired, Ask};
pub use change::{Dropped, Effects};
pub use grant::{grant, grant_if, set_policy};
pub use lock::{Home, Lock};
pub use release::{release, Released};
pub use settle::settle;
pub use status::{locks, queue, Holder, Queue, Stated, Waiter};
pub use watch::{granted, Granted, Own};
