//! A record: a znode that is read, decided over, and written if it is still the version that was read.
//!
//! # Steps
//!
//! | step | reply lost | session gone | caller gives up | process stopped |
//! | --- | --- | --- | --- | --- |
//! | read | read again | read again in a new session | nothing was changed | nothing was changed |
//! | write if the version is the one read | read: the next version with that data is this write | as when the reply is lost | the error says that the record may have been written | the record was written, or not |
//! | create what is missing | read: version 0 with that data is as good as this creation | as when the reply is lost | as above | as above |
//!
//! A write that a server carries out late changes nothing: by then the version is another, or it is the very write that
//! was wanted. Where more than one write has come in between, what became of this one cannot be told, and it is not
//! repeated over them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::join;
use zookeeper_client as zk;

use crate::acl;
use crate::children::or_missing;
use crate::error::Result;
use crate::path;
use crate::session::{Attempt, Failure, Session, Unacknowledged};

/// A value in the data of a record.
pub(crate) trait Stored: Sized {
    /// Reads the data.
    ///
    /// # Errors
    /// Data of somebody else, which is left alone.
    fn decode(path: &str, data: &[u8]) -> Result<Self>;

    /// The data to write.
    fn encode(&self) -> Vec<u8>;
}

/// What to do with a record, and the answer for the caller once that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision<T, R> {
    /// Nothing is written.
    Keep(R),
    /// This is written.
    Write(T, R),
}

/// A write whose reply was lost.
#[derive(Debug)]
struct Pending<R> {
    /// The version that the znode has once it was carried out.
    becomes: i32,
    data: Vec<u8>,
    answer: R,
}

/// A record, over the attempts of one call.
#[derive(Debug)]
pub(crate) struct Record<'a, R> {
    path: &'a str,
    acl: &'a acl::List,
    pending: Mutex<Vec<Pending<R>>>,
}

impl<'a, R: Clone> Record<'a, R> {
    /// The record at `path`. `acl`: what it permits, with its parents, where it has to be created.
    pub(crate) fn new(path: &'a str, acl: &'a acl::List) -> Self {
        Self { path, acl, pending: Mutex::default() }
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Pending<R>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the record, decides, and writes. `decide` is pure: it may be asked again, about what others have written.
    ///
    /// # Errors
    /// Those of `decode` and `decide`. [`Failure::Lost`] where somebody else was faster, or a reply was lost: then this
    /// is called again. [`crate::error::Error::ConnectionLost`] where what became of a lost write cannot be told.
    pub(crate) async fn update<T: Stored>(
        &self,
        session: &Session,
        unacknowledged: &Unacknowledged,
        decide: impl Fn(Option<T>) -> Result<Decision<T, R>>,
    ) -> Attempt<R> {
        let found = self.read(session).await?;
        self.update_from(session, unacknowledged, found, |found| decide(found.map(|(value, _)| value)))
            .await
            .map(|(answer, _)| answer)
    }

    /// The data and the stat of the record, as new as the leader's state when this was asked. `None`: it is not there.
    pub(crate) async fn read(&self, session: &Session) -> Attempt<Option<(Vec<u8>, zk::Stat)>> {
        let refused = |error| session.failure(&error, "read", self.path);
        let (synced, read) = join(session.sync(self.path), session.get_data(self.path)).await;
        synced.map_err(refused)?;
        or_missing(read).map_err(refused)
    }

    /// As [`Record::update`], for a caller who has read the record already, or knows what it has written last: one round
    /// trip. `decide` sees the stat as well, and so does the caller: that of the version which is there now.
    ///
    /// # Errors
    /// As [`Record::update`]. After [`Failure::Lost`] the caller has to read again.
    pub(crate) async fn update_from<T: Stored>(
        &self,
        session: &Session,
        unacknowledged: &Unacknowledged,
        found: Option<(Vec<u8>, zk::Stat)>,
        decide: impl Fn(Option<(T, &zk::Stat)>) -> Result<Decision<T, R>>,
    ) -> Attempt<(R, Option<zk::Stat>)> {
        if let Some(answer) = self.resolved(session, unacknowledged, found.as_ref())? {
            return Ok((answer, found.map(|(_, stat)| stat)));
        }
        let now = match &found {
            None => None,
            Some((data, stat)) => Some((T::decode(self.path, data).map_err(Failure::Final)?, stat)),
        };
        let (next, answer) = match decide(now).map_err(Failure::Final)? {
            Decision::Keep(answer) => return Ok((answer, found.map(|(_, stat)| stat))),
            Decision::Write(next, answer) => (next.encode(), answer),
        };
        let version = found.map(|(_, stat)| stat.version);
        let becomes = version.map_or(0, |version| version.wrapping_add(1));
        self.pending().push(Pending { becomes, data: next.clone(), answer: answer.clone() });
        let written = match version {
            Some(version) => self.set(session, unacknowledged, &next, version).await,
            None => self.create(session, unacknowledged, &next).await,
        };
        written.map(|stat| (answer, Some(stat)))
    }

    /// The answer for a write whose reply was lost, if the record shows by now that it was carried out.
    fn resolved(
        &self,
        session: &Session,
        unacknowledged: &Unacknowledged,
        found: Option<&(Vec<u8>, zk::Stat)>,
    ) -> Attempt<Option<R>> {
        let mut pending = self.pending();
        let Some((data, stat)) = found.filter(|_| !pending.is_empty()) else {
            return Ok(None);
        };
        if let Some(own) = pending.iter().find(|own| own.becomes == stat.version && own.data == *data) {
            return Ok(Some(own.answer.clone()));
        }
        // Another write has become that version, so that this one cannot be carried out any more.
        pending.retain(|own| own.becomes != stat.version);
        // It is not written yet, or never will be. The next write checks the same version, so that only one of the two
        // can be carried out.
        if pending.iter().all(|own| own.becomes == stat.version.wrapping_add(1)) {
            return Ok(None);
        }
        Err(Failure::Final(session.connection_lost(self.path, unacknowledged)))
    }

    /// Forgets the write that a server has refused.
    fn refused(&self) -> Failure {
        self.pending().pop();
        Failure::Lost
    }

    async fn set(
        &self,
        session: &Session,
        unacknowledged: &Unacknowledged,
        data: &[u8],
        version: i32,
    ) -> Attempt<zk::Stat> {
        let written = session.writes(unacknowledged).set_data(self.path, data, Some(version)).await;
        match written {
            Ok(stat) => Ok(stat),
            Err(zk::Error::BadVersion | zk::Error::NoNode) => Err(self.refused()),
            Err(error) => Err(session.failure(&error, "write", self.path)),
        }
    }

    async fn create(&self, session: &Session, unacknowledged: &Unacknowledged, data: &[u8]) -> Attempt<zk::Stat> {
        let acls = self.acl.of_new_znode();
        let options = zk::CreateMode::Persistent.with_acls(acls);
        let parents = session.make_parents(path::parents(self.path), acls, unacknowledged);
        let creating = session.writes(unacknowledged).create(self.path, data, &options);
        let (cause, created) = join(parents, creating).await;
        match created {
            Ok((stat, _)) => Ok(stat),
            Err(zk::Error::NodeExists) => Err(self.refused()),
            Err(error) => {
                let cause = cause.filter(|_| error == zk::Error::NoNode).unwrap_or(error);
                Err(session.failure(&cause, "create", self.path))
            }
        }
    }
}
