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

use futures::future::join;
use zookeeper_client::Error;

use crate::session::{Failure, Session};

/// A znode that is not there is an answer.
fn or_missing<T>(result: std::result::Result<T, Error>) -> std::result::Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of a znode's children, as new as the leader's state: a server that lags shows what others were told
/// before. A znode that is not there has none.
async fn children(session: &Session, path: &str) -> std::result::Result<Vec<String>, Failure> {
    let (synced, listed) = join(session.client().sync(path), session.client().list_children(path)).await;
    let refused = |error| session.failure(&error, "read", path);
    synced.map_err(refused)?;
    Ok(or_missing(listed).map_err(refused)?.unwrap_or_default())
}
