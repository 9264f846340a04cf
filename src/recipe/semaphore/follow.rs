//! Following a pool: its status now, and again whenever it changes.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::try_join3;

use super::status::{read, Status};
use crate::client::{Client, Outage};
use crate::error::Result;
use crate::recipe::queue::names::queue;
use crate::session::{Session, UNCHANGED};
use crate::wait::{Budget, Cut};
use crate::watches;

/// Tells the status of a pool, and tells it again after every change, until the time is up. A pool that does not exist is
/// waited for. Changes that come close together may be told as one.
///
/// # Errors
/// As [`super::status()`]. An outage before the first answer ends it after the connect timeout.
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// It is waited for, and the pool is read again in a new session if need be.
pub async fn follow(client: &Client, pool: &str, budget: &Budget, tell: impl Fn(Status) + Sync) -> Result<()> {
    let queue = &queue(pool);
    let client = &client.watching(2 * pool.len() + queue.len());
    let has_answered = AtomicBool::new(false);
    let attempt = |session: Session| {
        let (has_answered, tell) = (&has_answered, &tell);
        async move {
            loop {
                // The watches come first: a change between them and the reading is told by the next reading.
                let setting = try_join3(
                    watches::on_children(&session, queue),
                    watches::on_children(&session, pool),
                    watches::on_data(&session, pool),
                );
                let (nodes, leases, limit) = setting.await.map_err(|error| session.failure(&error, "read", pool))?;
                let status = read(&session, pool).await?;
                has_answered.store(true, Ordering::Relaxed);
                tell(status);
                watches::any_triggered(vec![nodes, leases, limit]).await?;
            }
        }
    };
    match client.attempts(budget, pool, Outage::OutlastedFrom(&has_answered), attempt).await {
        Ok(outcome) => outcome,
        Err(Cut::TimedOut) if has_answered.load(Ordering::Relaxed) => Ok(()),
        Err(Cut::TimedOut) => Err(client.unreachable(budget.elapsed())),
        Err(Cut::Cancelled) => Err(client.cancelled(budget, pool, UNCHANGED)),
    }
}
