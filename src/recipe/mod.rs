//! The primitives. Each receives an ensemble and never opens a session of its own.
//!
//! | recipe | maturity | what |
//! | --- | --- | --- |
//! | [`semaphore`] | Beta | N slots on a path; a lock is one slot |
//! | [`status`] | Beta | who holds a slot since when, who waits, and changing the limit |
//! | [`party`] | Beta | who is present, and waiting until enough are |
//!
//! [`names`] and [`order`] are the pure parts: what znodes are called, and who is next.

mod found;
mod lease;
pub mod names;
pub mod order;
pub mod party;
mod place;
pub mod semaphore;
pub mod status;
mod sweep;
mod view;

use zookeeper_client::Error;

/// A znode that is not there is an answer.
fn or_missing<T>(result: std::result::Result<T, Error>) -> std::result::Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}
