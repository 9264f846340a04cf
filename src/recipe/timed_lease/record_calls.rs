//! Reading and writing a record as it is, for who knows what to do with it.

use zookeeper_client as zk;

use super::lock_record::LockRecord;
use super::release::change;
use super::steps;
use crate::acl;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::record::{Decision, Record, Stored};
use crate::session::Session;
use crate::wait::Budget;

const UNKNOWN: &str = "whether the record was written is not known; read it before trying again";

/// A record as it was read, and the version by which it can be written over.
#[derive(Clone, Debug)]
pub struct Read {
    /// The data, which are a record.
    pub data: Vec<u8>,
    /// The version of the znode.
    pub version: i32,
}

/// Reads a record. `None`: there is none.
///
/// # Errors
/// [`Error::Argument`] where the znode holds no record; [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`],
/// [`Error::Cancelled`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The record is read again while the time in `budget` lasts.
pub async fn get(client: &Client, path: &str, budget: &Budget) -> Result<Option<Read>> {
    let acl = acl::List::default();
    let found = client.answer(budget, path, |session: Session| {
        let acl = &acl;
        async move { Record::<()>::new(path, acl).read(&session).await }
    });
    let Some((data, stat)) = found.await? else { return Ok(None) };
    LockRecord::decode(path, &data)?;
    Ok(Some(Read { data, version: stat.version }))
}

/// Creates a record, with its parents.
///
/// # Errors
/// [`Error::NodeExists`]; the others as [`update`].
///
/// # Cancellation
/// As [`update`].
///
/// # Lost connection
/// As [`update`].
pub async fn create(client: &Client, path: &str, new: &LockRecord, acl: &acl::List, budget: &Budget) -> Result<()> {
    let decide = |found: Option<(LockRecord, &zk::Stat)>| match found {
        None => Ok(Decision::Write(new.clone(), ())),
        Some(_) => Err(Error::NodeExists { path: path.to_owned() }),
    };
    change(client, path, acl, UNKNOWN, None, budget, decide, |_| None).await
}

/// Writes a record over the one at `version`. Members that are not known here stay: the data that are there now. The holder's
/// fencing token stays, too; another holder does not inherit the hold of the one before.
///
/// # Errors
/// [`Error::NoNode`]; [`Error::BadVersion`] where somebody has written it since; [`Error::Argument`] where the znode holds
/// no record, which is left alone; [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`],
/// [`Error::ConnectionLost`], [`Error::Cancelled`], [`Error::Server`].
///
/// # Cancellation
/// The error says whether the record may have been written.
///
/// # Lost connection
/// The record is read again. If it is the next version with just that data, it was written.
pub async fn update(
    client: &Client,
    path: &str,
    new: &LockRecord,
    version: i32,
    acl: &acl::List,
    budget: &Budget,
) -> Result<Read> {
    let decide = |found: Option<(LockRecord, &zk::Stat)>| match found {
        None => Err(Error::NoNode { path: path.to_owned() }),
        Some((_, stat)) if stat.version != version => Err(Error::BadVersion { path: path.to_owned(), wanted: version }),
        Some((record, stat)) => {
            let next = steps::updated(new.clone().with_unknown_of(&record), &record, stat.mzxid);
            Ok(Decision::Write(next.clone(), next.encode()))
        }
    };
    let data = change(client, path, acl, UNKNOWN, None, budget, decide, |_| None).await?;
    Ok(Read { data, version: version.wrapping_add(1) })
}
