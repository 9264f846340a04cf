//! What the servers know about a znode besides its data.

use std::time::{Duration, UNIX_EPOCH};

use futures::future::{join, join_all};
use serde::{Serialize, Serializer};
use zookeeper_client as zk;

use super::{failure, AT_ONCE};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::{Attempt, Failure, Owner, Session};
use crate::wait::Budget;

/// A znode's stat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stat {
    /// `persistent`, `ephemeral`, `container`, or `ttl`.
    pub kind: &'static str,
    /// When it was created, by the servers' clock: UTC, in the form of RFC 3339.
    pub created: String,
    /// When its data was written.
    pub modified: String,
    /// The zxid that created it.
    #[serde(serialize_with = "hexadecimal")]
    pub czxid: i64,
    /// The zxid that wrote its data.
    #[serde(serialize_with = "hexadecimal")]
    pub mzxid: i64,
    /// The zxid that created or deleted a child.
    #[serde(serialize_with = "hexadecimal")]
    pub pzxid: i64,
    /// How often its data was written.
    pub version: i32,
    /// How often a child was created or deleted.
    pub children_version: i32,
    /// How often its ACL was written.
    pub acl_version: i32,
    /// The session of an ephemeral one, in hexadecimal.
    pub session: Option<String>,
    /// Bytes of its data.
    pub bytes: i32,
    /// How many children it has.
    pub children: i32,
}

/// A zxid as the servers write it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn hexadecimal<S: Serializer>(zxid: &i64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{zxid:#x}"))
}

impl From<&zk::Stat> for Stat {
    fn from(stat: &zk::Stat) -> Self {
        let owner = Owner::of(stat);
        Self {
            kind: owner.kind(),
            created: time(stat.ctime),
            modified: time(stat.mtime),
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            pzxid: stat.pzxid,
            version: stat.version,
            children_version: stat.cversion,
            acl_version: stat.aversion,
            session: owner.session(),
            bytes: stat.data_length,
            children: stat.num_children,
        }
    }
}

fn time(milliseconds: i64) -> String {
    let since = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    let time = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
    // What is beyond the year 9999 has no such form.
    let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(time.min(last)).to_string()
}

/// A znode's stat.
///
/// # Errors
/// [`Error::NoNode`], and those of [`exists`](super::exists).
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The request is repeated while the time in `budget` lasts.
pub async fn stat(client: &Client, path: &str, budget: &Budget) -> Result<Stat> {
    let attempt = |session: Session| async move {
        let (synced, stat) = join(session.sync(path), session.check_stat(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        let stat = stat.map_err(refused)?;
        let missing = || Failure::Final(Error::NoNode { path: path.to_owned() });
        stat.as_ref().map(Stat::from).ok_or_else(missing)
    };
    client.answer(budget, path, attempt).await
}

/// The data of a znode, and the stat that goes with it.
///
/// # Errors
/// As [`stat`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The request is repeated while the time in `budget` lasts.
pub async fn read(client: &Client, path: &str, budget: &Budget) -> Result<(Vec<u8>, Stat)> {
    let attempt = |session: Session| async move {
        let (synced, read) = join(session.sync(path), session.get_data(path)).await;
        let refused = |error| failure(&session, &error, "read", path, 0);
        synced.map_err(refused)?;
        let (data, stat) = read.map_err(refused)?;
        Ok((data, Stat::from(&stat)))
    };
    client.answer(budget, path, attempt).await
}

/// A child of a znode.
#[derive(Clone, Debug, Serialize)]
pub struct Child {
    /// Its name.
    pub name: String,
    /// Its stat; none where the caller may not read it, as servers from 3.9 on want it.
    pub stat: Option<Stat>,
}

/// The children of a znode with their stats, in the order of their names. A child that goes meanwhile is not there.
///
/// # Errors
/// As [`stat`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// All is read again while the time in `budget` lasts.
pub async fn listing(client: &Client, path: &str, budget: &Budget) -> Result<Vec<Child>> {
    client.answer(budget, path, |session: Session| async move { list(&session, path).await }).await
}

async fn list(session: &Session, path: &str) -> Attempt<Vec<Child>> {
    let (synced, names) = join(session.sync(path), session.list_children(path)).await;
    let refused = |error| failure(session, &error, "read", path, 0);
    synced.map_err(refused)?;
    let mut names = names.map_err(refused)?;
    names.sort_unstable();
    let prefix = path.trim_end_matches('/');
    let mut children = Vec::with_capacity(names.len());
    for names in names.chunks(AT_ONCE) {
        let paths: Vec<_> = names.iter().map(|name| format!("{prefix}/{name}")).collect();
        let stats = join_all(paths.iter().map(|path| session.check_stat(path))).await;
        for (name, stat) in names.iter().zip(stats) {
            let stat = match stat {
                Ok(None) => continue,
                Ok(Some(stat)) => Some(Stat::from(&stat)),
                Err(zk::Error::NoAuth) => None,
                Err(error) => return Err(refused(error)),
            };
            children.push(Child { name: name.clone(), stat });
        }
    }
    Ok(children)
}
