//! Single znodes: create, read, write, delete, and their ACLs.
//!
//! A write whose reply was lost is not repeated, but for the creation of a znode whose name is known: one that is there
//! refuses it. What is there may tell the outcome: an ephemeral znode names its session, and a znode that is gone was
//! deleted. Where it does not, because a persistent or sequential znode was
//! created, because a version was given, or because somebody may have written since, the error says so.
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`stat`] | what the servers know about a znode, and about its children |
//! | [`follow`] | what has changed, whenever something does |

pub mod follow;
pub mod stat;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{join, join_all};
use zookeeper_client as zk;

use crate::acl;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::path;
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::Budget;

/// Bytes of a request to create or to write besides path, data and ACL: its kind, and the lengths of the others.
const HEAD: usize = 24;

/// Requests of one call that are on their way together.
const AT_ONCE: usize = 500;

const UNKNOWN: &str = "whether the znode was changed is not known; look before trying again";

/// A znode that is to be created.
#[derive(Clone, Debug)]
pub struct New {
    /// The full path.
    pub path: String,
    /// The data.
    pub data: Vec<u8>,
    /// The ACL; empty for everything to everybody.
    pub acl: acl::List,
    /// Whether it ends with the session.
    pub ephemeral: bool,
    /// Whether the server adds a sequence to its name.
    pub sequence: bool,
    /// Whether missing parents are made.
    pub parents: bool,
}

impl New {
    fn acls(&self) -> zk::Acls<'_> {
        self.acl.of_new_znode()
    }

    fn mode(&self) -> zk::CreateMode {
        match (self.ephemeral, self.sequence) {
            (false, false) => zk::CreateMode::Persistent,
            (false, true) => zk::CreateMode::PersistentSequential,
            (true, false) => zk::CreateMode::Ephemeral,
            (true, true) => zk::CreateMode::EphemeralSequential,
        }
    }
}

/// Bytes of a request to create or to write.
fn length(path: &str, data: &[u8], acl: &[zk::Acl]) -> usize {
    let entries: usize = acl.iter().map(|entry| 12 + entry.scheme().len() + entry.id().len()).sum();
    HEAD + path.len() + data.len() + entries
}

/// Creates a znode: its full path, with the sequence that the server has added to a sequential one.
///
/// # Errors
/// [`Error::Argument`] where the request is too long for a server; [`Error::NodeExists`]; [`Error::NoNode`] of a
/// parent; [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::ConnectionLost`],
/// [`Error::Cancelled`], [`Error::Server`].
///
/// # Cancellation
/// The error says whether the znode may have been created.
///
/// # Lost connection
/// The request is repeated. A znode that is there then is this one if it is ephemeral and belongs to a session of this
/// call. A persistent one does not tell who has created it, and the name of a sequential one is lost: the error is
/// [`Error::ConnectionLost`].
pub async fn create(client: &Client, new: &New, budget: &Budget) -> Result<String> {
    let length = length(&new.path, &new.data, &new.acls());
    client.check_length(length, new.data.len(), budget, &new.path).await?;
    let unacknowledged = Unacknowledged::new(UNKNOWN);
    let sent_in: Mutex<Vec<i64>> = Mutex::default();
    let attempt = |session: Session| {
        let (unacknowledged, sent_in) = (&unacknowledged, &sent_in);
        async move {
            let sessions = || sent_in.lock().unwrap_or_else(PoisonError::into_inner);
            sessions().push(session.id());
            let made = create_on(&session, new, unacknowledged).await;
            match made {
                Err(Failure::Lost | Failure::Gone) if new.sequence => {
                    Err(Failure::Final(session.connection_lost(&new.path, unacknowledged)))
                }
                Err(Failure::Final(Error::NodeExists { .. })) if unacknowledged.is_any() => {
                    let there = session.get_data(&new.path).await;
                    let (data, stat) = there.map_err(|error| failure(&session, &error, "read", &new.path, 0))?;
                    if new.ephemeral && sessions().contains(&stat.ephemeral_owner) && data == new.data {
                        return Ok(new.path.clone());
                    }
                    if !new.ephemeral && stat.ephemeral_owner == 0 && data == new.data {
                        // Another may have made the same: a persistent znode does not tell who made it.
                        return Err(Failure::Final(session.connection_lost(&new.path, unacknowledged)));
                    }
                    made
                }
                made => made,
            }
        }
    };
    client.write(budget, &new.path, &unacknowledged, attempt).await
}

async fn create_on(session: &Session, new: &New, unacknowledged: &Unacknowledged) -> Attempt<String> {
    let options = new.mode().with_acls(new.acls());
    let create = || session.writes(unacknowledged).create(&new.path, &new.data, &options);
    let created = match create().await {
        Err(zk::Error::NoNode) if new.parents => {
            let cause = session.make_parents(path::parents(&new.path), new.acls(), unacknowledged).await;
            match create().await {
                Err(zk::Error::NoNode) => Err(cause.unwrap_or(zk::Error::NoNode)),
                created => created,
            }
        }
        created => created,
    };
    let path = match created {
        Ok((_, sequence)) if new.sequence => format!("{}{sequence}", new.path),
        Ok(_) => new.path.clone(),
        Err(error) => return Err(failure(session, &error, "create", &new.path, 0)),
    };
    if new.ephemeral {
        session.keep_for(&path);
    }
    Ok(path)
}

/// Whether a znode exists, also where the caller may not read it.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::Cancelled`], [`Error::Server`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The request is repeated while the time in `budget` lasts.
pub async fn exists(client: &Client, path: &str, budget: &Budget) -> Result<bool> {
    let attempt = |session: Session| async move {
        let (synced, stat) = join(session.sync(path), session.check_stat(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        match stat {
            // ZooKeeper 3.9 wants read permission, but only for a znode that is there.
            Err(zk::Error::NoAuth) => Ok(true),
            stat => Ok(stat.map_err(refused)?.is_some()),
        }
    };
    client.answer(budget, path, attempt).await
}

/// The data of a znode.
///
/// # Errors
/// [`Error::NoNode`], and those of [`exists`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The request is repeated while the time in `budget` lasts.
pub async fn get(client: &Client, path: &str, budget: &Budget) -> Result<Vec<u8>> {
    let attempt = |session: Session| async move {
        let (synced, read) = join(session.sync(path), session.get_data(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        Ok(read.map_err(refused)?.0)
    };
    client.answer(budget, path, attempt).await
}

/// The names of a znode's children, in no order.
///
/// # Errors
/// [`Error::NoNode`], and those of [`exists`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The request is repeated while the time in `budget` lasts.
pub async fn children(client: &Client, path: &str, budget: &Budget) -> Result<Vec<String>> {
    let attempt = |session: Session| async move {
        let (synced, listed) = join(session.sync(path), session.list_children(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        listed.map_err(refused)
    };
    client.answer(budget, path, attempt).await
}

/// The ACL of a znode.
///
/// # Errors
/// [`Error::NoNode`], and those of [`exists`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The request is repeated while the time in `budget` lasts.
pub async fn acl(client: &Client, path: &str, budget: &Budget) -> Result<acl::List> {
    let attempt = |session: Session| async move {
        let (synced, read) = join(session.sync(path), session.get_acl(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        Ok(read.map_err(refused)?.0.into())
    };
    client.answer(budget, path, attempt).await
}

/// Writes the data of a znode, if it is at `version`; -1 stands for any. Returns the znode's stat after that.
///
/// # Errors
/// [`Error::Argument`] where the request is too long for a server; [`Error::NoNode`], [`Error::BadVersion`],
/// [`Error::ConnectionLost`], and those of [`exists`].
///
/// # Cancellation
/// The error says whether the znode may have been changed.
///
/// # Lost connection
/// The request is not repeated. Without a version, a znode that is as the write leaves it counts as written. Otherwise
/// somebody may have written since, and the error is [`Error::ConnectionLost`].
pub async fn set(client: &Client, path: &str, data: &[u8], version: i32, budget: &Budget) -> Result<zk::Stat> {
    client.check_length(length(path, data, &[]), data.len(), budget, path).await?;
    let there = |session: Session| async move {
        let read = session.get_data(path).await.map_err(|error| failure(&session, &error, "read", path, version))?;
        // The znode holds what was to be written, whoever has written it.
        Ok((version < 0 && read.0 == data).then_some(read.1))
    };
    let send = |session: Session, unacknowledged: Arc<Unacknowledged>| async move {
        let written = session.writes(&unacknowledged).set_data(path, data, wanted(version)).await;
        written.map_err(|error| failure(&session, &error, "write", path, version))
    };
    write_once(client, path, budget, send, there).await
}

/// Writes the ACL of a znode, if that is at `version`; -1 stands for any. Returns the znode's stat after that.
///
/// # Errors
/// As [`set`].
///
/// # Cancellation
/// The error says whether the znode may have been changed.
///
/// # Lost connection
/// The request is not repeated. Without a version, a znode that is as the write leaves it counts as written. Otherwise
/// somebody may have written since, and the error is [`Error::ConnectionLost`].
pub async fn set_acl(client: &Client, path: &str, acl: &[zk::Acl], version: i32, budget: &Budget) -> Result<zk::Stat> {
    let there = |session: Session| async move {
        let read = session.get_acl(path).await.map_err(|error| failure(&session, &error, "read", path, version))?;
        Ok((version < 0 && read.0 == acl).then_some(read.1))
    };
    let send = |session: Session, unacknowledged: Arc<Unacknowledged>| async move {
        let written = session.writes(&unacknowledged).set_acl(path, acl, wanted(version)).await;
        written.map_err(|error| failure(&session, &error, "admin", path, version))
    };
    write_once(client, path, budget, send, there).await
}

/// Sends a write once. After a lost reply `there` is asked whether the znode is as the write leaves it. If it is not,
/// somebody may have written since, and the error says that the outcome is not known.
async fn write_once<T, S, F, L, G>(client: &Client, path: &str, budget: &Budget, send: S, there: L) -> Result<T>
where
    S: Fn(Session, Arc<Unacknowledged>) -> F,
    F: Future<Output = Attempt<T>>,
    L: Fn(Session) -> G,
    G: Future<Output = Attempt<Option<T>>>,
{
    let unacknowledged = Arc::new(Unacknowledged::new(UNKNOWN));
    let attempt = |session: Session| {
        let (unacknowledged, send, there) = (&unacknowledged, &send, &there);
        async move {
            if !unacknowledged.is_any() {
                return send(session, unacknowledged.clone()).await;
            }
            let found = there(session.clone()).await?;
            found.ok_or_else(|| Failure::Final(session.connection_lost(path, unacknowledged)))
        }
    };
    client.write(budget, path, &unacknowledged, attempt).await
}

/// Deletes a znode, if it is at `version`; -1 stands for any. With `recursive` all znodes below it are deleted first,
/// and a znode that is not there is no error.
///
/// # Errors
/// [`Error::NoNode`], [`Error::BadVersion`], [`Error::Server`] where it has children, and those of [`exists`]. A
/// recursive delete that fails may have deleted a part.
///
/// # Cancellation
/// The error says whether znodes may have been deleted.
///
/// # Lost connection
/// The request is not repeated. A znode that is gone counts as deleted; for one that is there the error is
/// [`Error::ConnectionLost`].
pub async fn delete(client: &Client, path: &str, version: i32, recursive: bool, budget: &Budget) -> Result<()> {
    let gone = |session: Session| async move {
        let (synced, stat) = join(session.sync(path), session.check_stat(path)).await;
        let refused = |error| failure(&session, &error, "read", path, version);
        synced.map_err(refused)?;
        Ok(stat.map_err(refused)?.is_none().then_some(()))
    };
    let send = |session: Session, unacknowledged: Arc<Unacknowledged>| async move {
        delete_on(&session, path, version, recursive, &unacknowledged).await?;
        session.keep_no_more_for(path);
        Ok(())
    };
    write_once(client, path, budget, send, gone).await
}

async fn delete_on(
    session: &Session,
    path: &str,
    version: i32,
    recursive: bool,
    unacknowledged: &Unacknowledged,
) -> Attempt<()> {
    if recursive {
        match session.check_stat(path).await {
            Ok(None) => return Ok(()),
            Ok(Some(stat)) if version >= 0 && stat.version != version => {
                return Err(Failure::Final(Error::BadVersion { path: path.to_owned(), wanted: version }));
            }
            Ok(Some(_)) => {}
            Err(error) => return Err(failure(session, &error, "read", path, version)),
        }
        // Parents come before their children: deleted from the end, no znode is deleted too early. The servers
        // take the requests of a session in their order, so that many may be on their way.
        let mut found = vec![path.to_owned()];
        let mut next = 0;
        while next < found.len() {
            let parents = &found[next..found.len().min(next + AT_ONCE)];
            let listed = join_all(parents.iter().map(|parent| session.list_children(parent))).await;
            let mut below = Vec::new();
            for (parent, names) in parents.iter().zip(listed) {
                match names {
                    Ok(names) => below.extend(names.into_iter().map(|name| format!("{parent}/{name}"))),
                    Err(zk::Error::NoNode) if parent != path => {}
                    Err(error) => return Err(failure(session, &error, "read", parent, version)),
                }
            }
            next += parents.len();
            found.append(&mut below);
        }
        for below in found[1..].rchunks(AT_ONCE) {
            let deleting = below.iter().rev();
            let deleting = deleting.map(|path| session.writes(unacknowledged).delete(path, None));
            let deleted = join_all(deleting).await;
            for (path, deleted) in below.iter().rev().zip(deleted) {
                match deleted {
                    Ok(()) | Err(zk::Error::NoNode) => {}
                    Err(error) => return Err(failure(session, &error, "delete", path, version)),
                }
            }
        }
    }
    let deleted = session.writes(unacknowledged).delete(path, wanted(version)).await;
    deleted.map_err(|error| failure(session, &error, "delete", path, version))
}

fn wanted(version: i32) -> Option<i32> {
    (version >= 0).then_some(version)
}

fn failure(session: &Session, error: &zk::Error, action: &'static str, path: &str, version: i32) -> Failure {
    let path_of = || path.to_owned();
    match error {
        zk::Error::NoNode => Failure::Final(Error::NoNode { path: path_of() }),
        zk::Error::NodeExists => Failure::Final(Error::NodeExists { path: path_of() }),
        zk::Error::BadVersion => Failure::Final(Error::BadVersion { path: path_of(), wanted: version }),
        error => session.failure(error, action, path),
    }
}
