//! Single znodes: create, read, write, delete, and their ACLs.
//!
//! A write whose reply was lost is not repeated blindly. Where the outcome can be told from what is
//! there it is; where it cannot (a sequential name, a version) the error says so.

use futures::future::{join, join_all, BoxFuture};
use futures::FutureExt;
use zookeeper_client as zk;

use crate::acl;
use crate::ensemble::Ensemble;
use crate::error::{Error, Result};
use crate::path;
use crate::session::{self, Doubt, Failure, Session};
use crate::wait::Budget;

/// Bytes of a request, which is the servers' own `jute.maxbuffer` unless they were told otherwise. On a longer one
/// they hang up, and do not say why.
const REQUEST_LIMIT: usize = 0xf_ffff;
/// What a request to create or to write has beside path, data and ACL: its kind, and the lengths of all.
const HEAD: usize = 24;

/// Requests of one call that are on their way together.
const AT_ONCE: usize = 500;

type Attempt<T> = std::result::Result<T, Failure>;

const UNKNOWN: &str = "whether the znode was changed is not known; look before trying again";

/// What to create.
#[derive(Clone, Debug)]
pub struct New {
    /// The full path.
    pub path: String,
    /// The data.
    pub data: Vec<u8>,
    /// What it permits; empty for everything to everybody.
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
        session::acls(&self.acl)
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

/// Refuses what no server would take.
fn check_size(path: &str, data: &[u8], acl: &[zk::Acl]) -> Result<()> {
    let entries: usize = acl.iter().map(|entry| 12 + entry.scheme().len() + entry.id().len()).sum();
    if HEAD + path.len() + data.len() + entries > REQUEST_LIMIT {
        let reason =
            format!("is too long with {} bytes; servers take {REQUEST_LIMIT}, path and ACL included", data.len());
        return Err(Error::argument("value", reason));
    }
    Ok(())
}

/// Creates a znode; its full path.
///
/// # Errors
/// [`Error::Argument`] where a server would hang up over the length of it; [`Error::NodeExists`]; [`Error::NoNode`] of a parent; [`Error::ConnectionLost`] for a sequential one
/// whose name was lost; [`Error::NoAuth`], [`Error::Unreachable`], [`Error::Cancelled`], and so on.
pub async fn create(ensemble: &Ensemble, new: &New, budget: &Budget) -> Result<String> {
    check_size(&new.path, &new.data, &new.acls())?;
    let doubt = Doubt::new(UNKNOWN);
    let attempt = |session: Session| {
        let doubt = &doubt;
        async move {
            let made = create_on(&session, new, doubt).await;
            match made {
                Err(Failure::Lost | Failure::Gone) if new.sequence => {
                    Err(Failure::Final(ensemble.connection_lost(&new.path, UNKNOWN)))
                }
                Err(Failure::Final(Error::NodeExists { .. })) if doubt.is_unanswered() => {
                    // Ours, if it is what was to be made.
                    match session.client().get_data(&new.path).await {
                        Ok((data, _)) if data == new.data => Ok(new.path.clone()),
                        Ok(_) => made,
                        Err(error) => Err(failure(&session, &error, "read", &new.path, 0)),
                    }
                }
                made => made,
            }
        }
    };
    ensemble.write(budget, &new.path, &doubt, attempt).await
}

async fn create_on(session: &Session, new: &New, doubt: &Doubt) -> Attempt<String> {
    let options = new.mode().with_acls(new.acls());
    let created = doubt.write(session.client().create(&new.path, &new.data, &options)).await;
    let created = match created {
        Err(zk::Error::NoNode) if new.parents => {
            let cause = session.make_parents(path::parents(&new.path), new.acls()).await;
            match doubt.write(session.client().create(&new.path, &new.data, &options)).await {
                Err(zk::Error::NoNode) => Err(cause.unwrap_or(zk::Error::NoNode)),
                created => created,
            }
        }
        created => created,
    };
    match created {
        Ok((_, sequence)) if new.sequence => Ok(format!("{}{sequence}", new.path)),
        Ok(_) => Ok(new.path.clone()),
        Err(error) => Err(failure(session, &error, "create", &new.path, 0)),
    }
}

/// Whether a znode exists, be it readable or not.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::Unreachable`], [`Error::Cancelled`], [`Error::Server`].
pub async fn exists(ensemble: &Ensemble, path: &str, budget: &Budget) -> Result<bool> {
    let attempt = |session: Session| async move {
        let (synced, stat) = join(session.client().sync(path), session.client().check_stat(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        match stat {
            // ZooKeeper 3.9 wants read permission, but only for a znode that is there.
            Err(zk::Error::NoAuth) => Ok(true),
            stat => Ok(stat.map_err(refused)?.is_some()),
        }
    };
    ensemble.answer(budget, path, attempt).await
}

/// The data of a znode.
///
/// # Errors
/// [`Error::NoNode`], and those of [`exists`].
pub async fn get(ensemble: &Ensemble, path: &str, budget: &Budget) -> Result<Vec<u8>> {
    let attempt = |session: Session| async move {
        let (synced, read) = join(session.client().sync(path), session.client().get_data(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        Ok(read.map_err(refused)?.0)
    };
    ensemble.answer(budget, path, attempt).await
}

/// The names of a znode's children, in no order.
///
/// # Errors
/// [`Error::NoNode`], and those of [`exists`].
pub async fn children(ensemble: &Ensemble, path: &str, budget: &Budget) -> Result<Vec<String>> {
    let attempt = |session: Session| async move {
        let (synced, listed) = join(session.client().sync(path), session.client().list_children(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        listed.map_err(refused)
    };
    ensemble.answer(budget, path, attempt).await
}

/// The ACL of a znode.
///
/// # Errors
/// [`Error::NoNode`], and those of [`exists`].
pub async fn acl(ensemble: &Ensemble, path: &str, budget: &Budget) -> Result<acl::List> {
    let attempt = |session: Session| async move {
        let (synced, read) = join(session.client().sync(path), session.client().get_acl(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        Ok(read.map_err(refused)?.0.into())
    };
    ensemble.answer(budget, path, attempt).await
}

/// Sets the data of a znode, if it is at `version`; -1 stands for any.
///
/// # Errors
/// [`Error::Argument`] as [`create`]; [`Error::NoNode`], [`Error::BadVersion`], [`Error::ConnectionLost`] where a version was given and the
/// reply was lost, and those of [`exists`].
pub async fn set(ensemble: &Ensemble, path: &str, data: &[u8], version: i32, budget: &Budget) -> Result<zk::Stat> {
    check_size(path, data, &[])?;
    write(ensemble, path, "write", version, budget, |client| client.set_data(path, data, wanted(version)).boxed()).await
}

/// Sets the ACL of a znode, if that is at `version`; -1 stands for any.
///
/// # Errors
/// As [`set`].
pub async fn set_acl(
    ensemble: &Ensemble,
    path: &str,
    acl: &[zk::Acl],
    version: i32,
    budget: &Budget,
) -> Result<zk::Stat> {
    write(ensemble, path, "admin", version, budget, |client| client.set_acl(path, acl, wanted(version)).boxed()).await
}

/// Writes to a znode that is there, if it is at `version`.
async fn write(
    ensemble: &Ensemble,
    path: &str,
    action: &'static str,
    version: i32,
    budget: &Budget,
    request: impl Fn(&zk::Client) -> BoxFuture<'_, std::result::Result<zk::Stat, zk::Error>>,
) -> Result<zk::Stat> {
    let doubt = Doubt::new(UNKNOWN);
    let attempt = |session: Session| {
        let (doubt, request) = (&doubt, &request);
        async move {
            let written = doubt.write(request(session.client())).await;
            written.map_err(|error| once(ensemble, failure(&session, &error, action, path, version), version, path))
        }
    };
    ensemble.write(budget, path, &doubt, attempt).await
}

/// Deletes a znode, if it is at `version` (-1 stands for any), and with `recursive` all below it;
/// then one that is not there is fine.
///
/// # Errors
/// [`Error::NoNode`], [`Error::BadVersion`], [`Error::Server`] where it has children, and those of
/// [`exists`]. A recursive delete that fails may have removed a part.
pub async fn delete(ensemble: &Ensemble, path: &str, version: i32, recursive: bool, budget: &Budget) -> Result<()> {
    let doubt = Doubt::new(UNKNOWN);
    let attempt = |session: Session| {
        let doubt = &doubt;
        async move {
            match delete_on(&session, path, version, recursive, doubt).await {
                Err(Failure::Final(Error::NoNode { .. })) if doubt.is_unanswered() => Ok(()),
                Err(failure) if doubt.is_unanswered() => Err(once(ensemble, failure, version, path)),
                deleted => deleted,
            }
        }
    };
    ensemble.write(budget, path, &doubt, attempt).await
}

async fn delete_on(session: &Session, path: &str, version: i32, recursive: bool, doubt: &Doubt) -> Attempt<()> {
    if recursive {
        match session.client().check_stat(path).await {
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
            let listed = join_all(parents.iter().map(|parent| session.client().list_children(parent))).await;
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
            let deleting = below.iter().rev().map(|path| session.client().delete(path, None));
            let deleted = join_all(deleting.map(|delete| doubt.write(delete))).await;
            for (path, deleted) in below.iter().rev().zip(deleted) {
                match deleted {
                    Ok(()) | Err(zk::Error::NoNode) => {}
                    Err(error) => return Err(failure(session, &error, "delete", path, version)),
                }
            }
        }
    }
    let deleted = doubt.write(session.client().delete(path, wanted(version))).await;
    deleted.map_err(|error| failure(session, &error, "delete", path, version))
}

fn wanted(version: i32) -> Option<i32> {
    (version >= 0).then_some(version)
}

/// A write that depends on a version cannot be repeated once it may have been done.
fn once(ensemble: &Ensemble, failure: Failure, version: i32, path: &str) -> Failure {
    match failure {
        Failure::Lost | Failure::Gone if version >= 0 => Failure::Final(ensemble.connection_lost(path, UNKNOWN)),
        failure => failure,
    }
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
