//! The record of a lease and its queue at one moment, from one request.

use std::future::Future;

use zookeeper_client as zk;

use super::lock_record::LockRecord;
use crate::error::Result;
use crate::multi_read;
use crate::recipe::queue::contender::Listing;
use crate::record::Stored;
use crate::session::{Attempt, Session};

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
    let reading = multi_read::read(session, &|reader| {
        reader.add_get_children(queue)?;
        reader.add_get_data(path)
    });
    async move {
        let read = async {
            let mut answers = reading.await?;
            Ok(Snapshot { queue: answers.children()?.unwrap_or_default(), found: answers.data()? })
        };
        read.await.map_err(|error| session.failure(&error, "read", path))
    }
}
