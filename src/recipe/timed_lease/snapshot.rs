//! The record of a lease and its queue at one moment, from one request.

use std::future::Future;

use zookeeper_client as zk;

use super::lock_record::LockRecord;
use crate::children::or_missing;
use crate::error::Result;
use crate::recipe::queue::contender::Listing;
use crate::record::Stored;
use crate::session::{Attempt, Reply, Session};

/// The record and its queue. Where the record was taken meanwhile by a contender that leaves the queue, at least one of
/// the two is seen: the queue is read first.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// The children of the queue.
    pub(super) queue: Vec<String>,
    /// The data and the stat of the record.
    pub(super) found: Option<(Vec<u8>, zk::Stat)>,
}

impl Listing for Snapshot {
    fn queue(&self) -> &[String] {
        &self.queue
    }
}

impl Snapshot {
    /// The record, if there is one.
    pub(super) fn record(&self, path: &str) -> Result<Option<LockRecord>> {
        self.found.as_ref().map(|(data, _)| LockRecord::decode(path, data)).transpose()
    }
}

/// Reads a record with its queue. The request is sent at once.
pub(super) fn read<'a>(
    session: &'a Session,
    path: &'a str,
    queue: &str,
) -> impl Future<Output = Attempt<Snapshot>> + 'a {
    let sent = {
        let mut reader = session.multi_reader();
        let added = reader.add_get_children(queue).and_then(|()| reader.add_get_data(path));
        added.map(|()| reader.commit())
    };
    async move {
        let read = async { snapshot(sent?.await?) };
        read.await.map_err(|error| session.failure(&error, "read", path))
    }
}

fn snapshot(results: Vec<zk::MultiReadResult>) -> Reply<Snapshot> {
    let unexpected = |results: &dyn std::fmt::Debug| zk::Error::UnexpectedError(format!("a read answered {results:?}"));
    let [queue, record] = <[_; 2]>::try_from(results).map_err(|results| unexpected(&results))?;
    let queue = match or_missing(outcome(queue))? {
        None => Vec::new(),
        Some(zk::MultiReadResult::Children { children }) => children,
        Some(other) => return Err(unexpected(&other)),
    };
    let found = match or_missing(outcome(record))? {
        None => None,
        Some(zk::MultiReadResult::Data { data, stat }) => Some((data, stat)),
        Some(other) => return Err(unexpected(&other)),
    };
    Ok(Snapshot { queue, found })
}

fn outcome(result: zk::MultiReadResult) -> Reply<zk::MultiReadResult> {
    match result {
        zk::MultiReadResult::Error { err } => Err(err),
        result => Ok(result),
    }
}
