//! Following a znode: what it is now, again at every change, and what has changed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{join3, try_join};
use serde::Serialize;

use super::failure;
use super::stat::Stat;
use crate::children::or_missing;
use crate::client::{Client, Outage};
use crate::error::Result;
use crate::session::{Session, UNCHANGED};
use crate::wait::{Budget, Cut};
use crate::watches;

/// A znode that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its stat.
    pub stat: Stat,
    /// The names of its children.
    pub children: BTreeSet<String>,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// It was created.
    Created {
        /// Its stat.
        stat: Stat,
    },
    /// It was deleted.
    Deleted,
    /// Its data was written.
    Written {
        /// Its stat after that.
        stat: Stat,
    },
    /// A child was created.
    ChildCreated {
        /// The child's name.
        child: String,
    },
    /// A child was deleted.
    ChildDeleted {
        /// The child's name.
        child: String,
    },
}

/// Tells what a znode is, and tells it again after every change of its data or its children, until the time is up. `None`
/// stands for a znode that is not there, and that is waited for. Changes that come close together may be told as one. A
/// change of the ACL triggers no watch.
///
/// # Errors
/// Those of [`exists`](super::exists). An outage before the first answer ends it after the connect timeout.
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// It is waited for, and the znode is read again in a new session if need be.
pub async fn follow(
    client: &Client,
    path: &str,
    budget: &Budget,
    tell: impl Fn(Option<Snapshot>) + Sync,
) -> Result<()> {
    let client = &client.watching(2 * path.len());
    let has_answered = AtomicBool::new(false);
    let attempt = |session: Session| {
        let (has_answered, tell) = (&has_answered, &tell);
        async move {
            let refused = |error| failure(&session, &error, "read", path, 0);
            loop {
                // The watches come first: a change between them and the reading is told by the next reading.
                let setting = try_join(watches::on_children(&session, path), watches::on_data(&session, path));
                let (names, data) = setting.await.map_err(refused)?;
                let reading = join3(session.sync(path), session.check_stat(path), session.list_children(path));
                let (synced, stat, children) = reading.await;
                synced.map_err(refused)?;
                let (stat, children) = (stat.map_err(refused)?, or_missing(children).map_err(refused)?);
                has_answered.store(true, Ordering::Relaxed);
                tell(stat.map(|stat| Snapshot {
                    stat: Stat::from(&stat),
                    children: children.unwrap_or_default().into_iter().collect(),
                }));
                watches::any_triggered(vec![names, data]).await?;
            }
        }
    };
    match client.attempts(budget, path, Outage::OutlastedFrom(&has_answered), attempt).await {
        Ok(outcome) => outcome,
        Err(Cut::TimedOut) if has_answered.load(Ordering::Relaxed) => Ok(()),
        Err(Cut::TimedOut) => Err(client.unreachable(budget.elapsed())),
        Err(Cut::Cancelled) => Err(client.cancelled(budget, path, UNCHANGED)),
    }
}

/// What has changed between two readings of one znode. What came and went between them is not seen.
#[must_use]
pub fn changes(before: Option<&Snapshot>, after: Option<&Snapshot>) -> Vec<Change> {
    let is_same = matches!((before, after), (Some(old), Some(new)) if old.stat.czxid == new.stat.czxid);
    let mut changes = Vec::new();
    if before.is_some() && !is_same {
        changes.push(Change::Deleted);
    }
    let Some(new) = after else { return changes };
    let old = before.filter(|_| is_same);
    match old {
        None => changes.push(Change::Created { stat: new.stat.clone() }),
        Some(old) if old.stat.mzxid != new.stat.mzxid => changes.push(Change::Written { stat: new.stat.clone() }),
        Some(_) => {}
    }
    let none = BTreeSet::new();
    let known = old.map_or(&none, |old| &old.children);
    let child = |name: &String| name.clone();
    changes.extend(known.difference(&new.children).map(|name| Change::ChildDeleted { child: child(name) }));
    changes.extend(new.children.difference(known).map(|name| Change::ChildCreated { child: child(name) }));
    changes
}
