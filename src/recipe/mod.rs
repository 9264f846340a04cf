//! The primitives. Each receives a client and never opens a session of its own.
//!
//! | recipe | maturity | what |
//! | --- | --- | --- |
//! | [`semaphore`] | Beta | N slots on a path; a lock is one slot |
//! | [`hold`] | Beta | a lease that somebody has: giving it back, and learning of its loss |
//! | [`status`] | Beta | who holds a slot since when, who waits, and changing the limit |
//! | [`party`] | Beta | who is present, and waiting until enough are |
//!
//! [`names`], [`order`], [`claim`] and [`data`] are the pure parts: what znodes are called, who is next, who wants what,
//! and what the bytes mean.

pub mod claim;
pub mod data;
mod found;
pub mod hold;
mod lease;
pub mod names;
pub mod order;
pub mod party;
mod place;
pub mod semaphore;
pub mod status;
mod sweep;
mod view;
