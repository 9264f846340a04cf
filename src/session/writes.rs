//! The writes of a session, and the account of those that no server has answered. There is no other way to write, so
//! that no write is missing from the account.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use zookeeper_client as zk;

use super::failure::{is_refusal, Reply, UNCHANGED};

/// The writes of one call that no server has answered. The servers may have carried them out, or may still do so.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    requests: AtomicUsize,
    consequence: &'static str,
}

impl Unacknowledged {
    /// An account without a write. `consequence`: what the caller has to know if a reply is missing.
    pub(crate) fn new(consequence: &'static str) -> Self {
        Self { requests: AtomicUsize::new(0), consequence }
    }

    fn sent(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the reply to any write is missing.
    pub(crate) fn is_any(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn consequence(&self) -> &'static str {
        if self.is_any() {
            self.consequence
        } else {
            UNCHANGED
        }
    }
}

/// An error of a write, which tells whether a server has answered it.
pub(crate) trait WriteError {
    /// A server has answered, and changed nothing.
    fn is_refusal(&self) -> bool;
}

impl WriteError for zk::Error {
    fn is_refusal(&self) -> bool {
        is_refusal(self)
    }
}

impl WriteError for Uncommitted {
    fn is_refusal(&self) -> bool {
        self.index.is_some() || is_refusal(&self.source)
    }
}

impl Uncommitted {
    /// A server has refused an operation because a znode is not as it was read.
    pub(crate) fn is_outdated(&self) -> bool {
        use zk::Error::{BadVersion, NoNode, NodeExists};
        self.index.is_some() && matches!(self.source, BadVersion | NoNode | NodeExists)
    }
}

/// Why a transaction was not carried out, or why that is not known.
#[derive(Debug)]
pub(crate) struct Uncommitted {
    /// Which operation a server has refused. `None`: the request as a whole has failed.
    pub(crate) index: Option<usize>,
    pub(crate) source: zk::Error,
    /// What that operation does, or the first one, in the word for the permission that it needs.
    pub(crate) action: &'static str,
    /// The znode of that operation.
    pub(crate) path: String,
}

/// The writes of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writes<'a> {
    pub(super) client: &'a zk::Client,
    pub(super) longest: &'a AtomicUsize,
    pub(super) unacknowledged: &'a Unacknowledged,
}

impl<'a> Writes<'a> {
    pub(crate) fn create<'b: 'f, 'f>(
        self,
        path: &'b str,
        data: &[u8],
        options: &zk::CreateOptions<'_>,
    ) -> impl Future<Output = Reply<(zk::Stat, zk::CreateSequence)>> + Send + 'f
    where
        'a: 'f,
    {
        self.sends(path.len() + data.len());
        acknowledged(self.unacknowledged, self.client.create(path, data, options))
    }

    pub(crate) fn delete(self, path: &str, version: Option<i32>) -> impl Future<Output = Reply<()>> + Send + 'a {
        acknowledged(self.unacknowledged, self.client.delete(path, version))
    }

    pub(crate) fn set_data(
        self,
        path: &str,
        data: &[u8],
        version: Option<i32>,
    ) -> impl Future<Output = Reply<zk::Stat>> + Send + 'a {
        self.sends(path.len() + data.len());
        acknowledged(self.unacknowledged, self.client.set_data(path, data, version))
    }

    pub(crate) fn set_acl(
        self,
        path: &str,
        acl: &[zk::Acl],
        version: Option<i32>,
    ) -> impl Future<Output = Reply<zk::Stat>> + Send + 'a {
        acknowledged(self.unacknowledged, self.client.set_acl(path, acl, version))
    }

    /// Changes who is in the ensemble, if its configuration is at this version: the configuration after that.
    pub(crate) fn reconfigure<'b, I>(
        self,
        update: zk::EnsembleUpdate<'b, I>,
        version: i64,
    ) -> impl Future<Output = Reply<Vec<u8>>> + Send + 'b
    where
        'a: 'b,
        I: Iterator<Item = &'b str> + Clone + Send + 'b,
    {
        let changing = self.client.update_ensemble(update, Some(version));
        let changing = async move { changing.await.map(|(data, _)| data) };
        acknowledged(self.unacknowledged, changing)
    }

    fn sends(self, bytes: usize) {
        self.longest.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Several writes that are carried out together or not at all.
    pub(crate) fn transaction(self) -> Transaction<'a> {
        Transaction { writer: self.client.new_multi_writer(), writes: self, bytes: 0, operations: Vec::new() }
    }
}

/// Writes that are carried out together or not at all, once they are committed.
pub(crate) struct Transaction<'a> {
    writer: zk::MultiWriter<'a>,
    writes: Writes<'a>,
    /// What it takes to send it, about.
    bytes: usize,
    /// The permission that each operation needs, and its znode. For the error: a server tells only which one it has
    /// refused.
    operations: Vec<(&'static str, String)>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn check(&mut self, path: &str, version: i32) -> Reply<()> {
        self.adds("read", path, 0);
        self.writer.add_check_version(path, version)
    }

    pub(crate) fn create(&mut self, path: &str, data: &[u8], options: &zk::CreateOptions<'_>) -> Reply<()> {
        self.adds("create", path, data.len());
        self.writer.add_create(path, data, options)
    }

    pub(crate) fn set_data(&mut self, path: &str, data: &[u8], version: Option<i32>) -> Reply<()> {
        self.adds("write", path, data.len());
        self.writer.add_set_data(path, data, version)
    }

    pub(crate) fn delete(&mut self, path: &str, version: Option<i32>) -> Reply<()> {
        self.adds("delete", path, 0);
        self.writer.add_delete(path, version)
    }

    fn adds(&mut self, action: &'static str, path: &str, data: usize) {
        self.bytes += path.len() + data;
        self.operations.push((action, path.to_owned()));
    }

    pub(crate) fn commit(
        self,
    ) -> impl Future<Output = std::result::Result<Vec<zk::MultiWriteResult>, Uncommitted>> + Send + 'a {
        let Self { mut writer, writes, bytes, mut operations } = self;
        writes.sends(bytes);
        let reply = writer.commit();
        let reply = async move {
            reply.await.map_err(|error| {
                let (index, source) = match error {
                    zk::MultiWriteError::OperationFailed { index, source } => (Some(index), source),
                    zk::MultiWriteError::RequestFailed { source } => (None, source),
                };
                let (action, path) = match index.unwrap_or(0) {
                    index if index < operations.len() => operations.swap_remove(index),
                    _ => ("write", String::new()),
                };
                Uncommitted { index, source, action, path }
            })
        };
        acknowledged(writes.unacknowledged, reply)
    }
}

/// Awaits the reply to a write that was sent, and keeps account of it.
fn acknowledged<'f, T, E: WriteError>(
    unacknowledged: &'f Unacknowledged,
    reply: impl Future<Output = std::result::Result<T, E>> + Send + 'f,
) -> impl Future<Output = std::result::Result<T, E>> + Send + 'f {
    unacknowledged.sent();
    async move {
        let result = reply.await;
        if result.as_ref().err().is_none_or(WriteError::is_refusal) {
            unacknowledged.answered();
        }
        result
    }
}
