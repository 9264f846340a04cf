//! A pool and its queue as they are at one moment: one request, whatever is in them.

use std::future::Future;

use zookeeper_client as zk;

use crate::children::or_missing;
use crate::recipe::claim::Claim;
use crate::recipe::data::Limit;
use crate::recipe::order;
use crate::session::{Failure, Session};

/// What a contender decides by. What is missing is empty.
#[derive(Default)]
pub(super) struct View {
    pub(super) queue: Vec<String>,
    pub(super) pool: Option<(Vec<u8>, zk::Stat)>,
    pub(super) leases: Vec<String>,
}

/// Reads the claim's pool and its queue; sent at once, behind what was sent before.
///
/// The queue comes before the pool, so that a lease taken by a predecessor that is gone from the one is
/// seen in the other.
pub(super) fn read<'a>(
    session: &'a Session,
    claim: &'a Claim,
    queue: &str,
) -> impl Future<Output = Result<View, Failure>> + 'a {
    let reading = {
        let mut reader = session.multi_reader();
        let added = reader
            .add_get_children(queue)
            .and_then(|()| reader.add_get_data(&claim.pool))
            .and_then(|()| reader.add_get_children(&claim.pool));
        added.map(|()| reader.commit())
    };
    async move {
        let read = async { view(reading?.await?) };
        read.await.map_err(|error| session.failure(&error, "read", &claim.pool))
    }
}

fn view(results: Vec<zk::MultiReadResult>) -> Result<View, zk::Error> {
    let unexpected = |results: &dyn std::fmt::Debug| zk::Error::UnexpectedError(format!("a read answered {results:?}"));
    let [queue, pool, leases] = <[_; 3]>::try_from(results).map_err(|results| unexpected(&results))?;
    let pool = match or_missing(outcome(pool))? {
        None => None,
        Some(zk::MultiReadResult::Data { data, stat }) => Some((data, stat)),
        Some(other) => return Err(unexpected(&other)),
    };
    let children = |result| match or_missing(outcome(result))? {
        None => Ok(Vec::new()),
        Some(zk::MultiReadResult::Children { children }) => Ok(children),
        Some(other) => Err(unexpected(&other)),
    };
    Ok(View { queue: children(queue)?, pool, leases: children(leases)? })
}

fn outcome(result: zk::MultiReadResult) -> Result<zk::MultiReadResult, zk::Error> {
    match result {
        zk::MultiReadResult::Error { err } => Err(err),
        result => Ok(result),
    }
}

impl View {
    /// The number that the pool stores.
    pub(super) fn limit(&self) -> Limit {
        self.pool.as_ref().map_or(Limit::Unset, |(data, _)| Limit::decode(data))
    }

    /// Whether the pool has a slot, were `ahead` more taken first. The stored number counts, should it have
    /// changed during the wait; `asked` is the limit where there is none.
    pub(super) fn has_room(&self, ahead: usize, asked: u32) -> bool {
        let limit = match self.limit() {
            Limit::Number(stored) => stored,
            Limit::Unset | Limit::Foreign => i64::from(asked),
        };
        order::has_room(self.leases.len() + ahead, limit)
    }
}
