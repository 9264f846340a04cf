//! The primitives. Each receives a client and never opens a session of its own.
//!
//! | recipe | maturity | what |
//! | --- | --- | --- |
//! | [`queue`] | Beta | first in, first out: who is next; it knows nothing of leases |
//! | [`semaphore`] | Beta | N slots on a path, through that queue; a lock is one slot |
//! | [`timed_lease`] | Beta | one holder at a time, whose lease ends by the clock |
//! | [`party`] | Beta | who is present, and waiting until enough are |
//! | [`coordinator`] | Beta | ask now, be granted later: requests that outlive their process |
//!
//! [`identifier`] is what a znode's data says of whose it is.

pub mod coordinator;
pub mod identifier;
pub mod party;
pub mod queue;
pub mod semaphore;
pub mod timed_lease;
