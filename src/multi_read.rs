//! Several znodes read with one request, which a server answers from one moment.

use std::future::Future;

use zookeeper_client as zk;

use crate::children::or_missing;
use crate::session::{Reply, Session};

/// What the reads of one request have answered, in the order in which they were asked.
pub(crate) struct Answers(std::vec::IntoIter<zk::MultiReadResult>);

/// Sends one request with the reads that `add` adds. It is sent at once.
pub(crate) fn read<'a>(
    session: &'a Session,
    add: &dyn Fn(&mut zk::MultiReader<'a>) -> Reply<()>,
) -> impl Future<Output = Reply<Answers>> + Send + 'a {
    let mut reader = session.multi_reader();
    let sent = add(&mut reader).map(|()| reader.commit());
    async move { Ok(Answers(sent?.await?.into_iter())) }
}

impl Answers {
    /// The data and the stat of the next znode; `None` where there is none.
    pub(crate) fn data(&mut self) -> Reply<Option<(Vec<u8>, zk::Stat)>> {
        or_missing(match self.0.next() {
            Some(zk::MultiReadResult::Data { data, stat }) => Ok((data, stat)),
            other => Err(not_as_asked(other)),
        })
    }

    /// The names of the children of the next znode; `None` where there is none.
    pub(crate) fn children(&mut self) -> Reply<Option<Vec<String>>> {
        or_missing(match self.0.next() {
            Some(zk::MultiReadResult::Children { children }) => Ok(children),
            other => Err(not_as_asked(other)),
        })
    }
}

/// The error of a read, or that a server has answered something else than was asked.
fn not_as_asked(result: Option<zk::MultiReadResult>) -> zk::Error {
    match result {
        Some(zk::MultiReadResult::Error { err }) => err,
        other => zk::Error::UnexpectedError(format!("a read was answered with {other:?}")),
    }
}
