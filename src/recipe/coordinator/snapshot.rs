//! Reading a lock: its grants, its policy, and its requests in their order.

use futures::future::join;
use zookeeper_client as zk;

use super::document::{Asked, Grants, Request};
use super::lock::Lock;
use super::names;
use super::policy::Policy;
use crate::children::{self, or_missing};
use crate::error::{Error, Result};
use crate::multi_read;
use crate::recipe::party;
use crate::record::Stored;
use crate::session::{Attempt, Failure, Session};

/// A lock at one moment: what a decision is made by.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The policy, or why it cannot be read, and the version of its znode. `None`: there is no such lock.
    pub(super) policy: Option<(Result<Policy>, i32)>,
    /// The requests in the order of the queue.
    pub(super) requests: Vec<Request>,
    pub(super) grants: Grants,
    /// The data of the grants' znode.
    pub(super) written: Vec<u8>,
    /// The version of the grants' znode. `None`: there is none yet.
    pub(super) version: Option<i32>,
}

impl Snapshot {
    /// The request of a unit.
    pub(super) fn request(&self, unit: &str) -> Option<&Request> {
        self.requests.iter().find(|request| request.unit == unit)
    }

    /// The policy, where there is such a lock.
    ///
    /// # Errors
    /// Its data is no policy that is known here.
    pub(super) fn readable_policy(&self) -> Attempt<Option<&Policy>> {
        let policy = self.policy.as_ref().map(|(policy, _)| policy.as_ref());
        policy.transpose().map_err(|error| Failure::Final(error.clone()))
    }

    /// Whether a request is granted.
    pub(super) fn is_granted(&self, request: &Request) -> bool {
        self.grants.0.get(&request.unit).is_some_and(|grant| grant.request == request.czxid)
    }
}

/// Reads a lock as the leader knows it, in two round trips, whatever the number of its requests. What
/// was sent before is answered in the same flight.
///
/// The grants are read before the requests: a grant whose request is not among these is over for good.
pub(super) async fn read(session: &Session, lock: &Lock) -> Attempt<Snapshot> {
    let refused = |error: zk::Error| session.failure(&error, "read", &lock.requests);
    let synced = session.sync(&lock.requests);
    let reading = multi_read::read(session, &|reader| {
        reader.add_get_data(&lock.grants)?;
        reader.add_get_data(&lock.requests)?;
        reader.add_get_children(&lock.requests)
    });
    let (synced, answers) = join(synced, reading).await;
    synced.map_err(refused)?;
    let mut answers = answers.map_err(refused)?;
    let (grants, policy) = (answers.data().map_err(refused)?, answers.data().map_err(refused)?);
    let children = answers.children().map_err(refused)?.unwrap_or_default();
    let (grants, written, version) = match grants {
        None => (Grants::default(), Vec::new(), None),
        Some((data, stat)) => {
            let mut grants = Grants::decode(&lock.grants, &data).map_err(Failure::Final)?;
            grants.complete(stat.mtime, stat.mzxid);
            (grants, data, Some(stat.version))
        }
    };
    let policy = policy.map(|(data, stat)| (Policy::decode(&lock.requests, &data), stat.version));
    let mut requests = Vec::with_capacity(children.len());
    for (name, read) in children::read(session, &lock.requests, children).await? {
        match or_missing(read) {
            Ok(Some((data, stat))) => requests.push(request(&name, data, &stat)),
            Ok(None) => {}
            Err(error) => return Err(session.failure(&error, "read", &format!("{}/{name}", lock.requests))),
        }
    }
    requests.sort_by_key(|request| request.czxid);
    Ok(Snapshot { policy, requests, grants, written, version })
}

fn request(name: &str, data: Vec<u8>, stat: &zk::Stat) -> Request {
    Request {
        unit: names::decode(name),
        znode: name.to_owned(),
        czxid: stat.czxid,
        since: stat.ctime,
        seen: stat.mtime,
        asked: Asked::decode(&data),
        data,
        version: stat.version,
    }
}

/// How many members the party has that a policy counts.
pub(super) async fn members(session: &Session, lock: &Lock, policy: &Policy) -> Attempt<usize> {
    let Some(party) = policy.party() else { return Ok(0) };
    let present = children::list(session, &lock.party(party)).await?;
    Ok(present.iter().filter(|child| party::names::member(child).is_some()).count())
}

/// The error for a unit that has no request.
pub(super) fn no_request(lock: &Lock, unit: &str) -> Error {
    Error::argument("unit", format!("{unit:?} has no request for the lock {:?}; nothing was changed", lock.name))
}
