//! Who is present: the members of a party, waiting until there are enough, joining and leaving.
//!
//! # Layout
//!
//! ```text
//! <party>                         persistent   the party
//! <party>/<32 hex>__party__       ephemeral    a member of kazoo's `Party`; the data is the identifier in UTF-8
//!                                 or persistent
//! <party>/<32 hex>-<identifier>   as above     a member of kazoo's `ShallowParty`
//! ```
//!
//! # Invariants
//!
//! - A child of another name is no member.
//! - A party that does not exist has no members.
//! - The name of a member is never used again. What is deleted under that name is this very member.
//! - A member is a [`Hold`](super::semaphore::Hold): its process gives it back, and learns of its loss, as with a lease.
//! - An ephemeral member is listed until its session ends, and a persistent one until somebody removes it.
//! - A list of members is as new as the leader's state when it was asked for. A wait sees what its own server sees.
//!
//! # Steps
//!
//! | step | reply lost | session gone | caller gives up | process stopped |
//! | --- | --- | --- | --- | --- |
//! | list the members | ask again | ask again in a new session | nothing was changed | the answer is as old as the reply |
//! | join: create the member | sync, then look for the member by its name | an ephemeral one is made anew; a persistent one is found by its name | the member is deleted in the background | the servers remove an ephemeral one after the session timeout |
//! | leave: delete the members of an identifier | delete the same again; those that are gone count as removed | the same in a new session | the error says that they may have been removed | members that were not deleted stay |
//! | wait for enough: watch the children of the party | list again, and watch again | the same in a new session | who is there so far, or an error where there is no connection | the wait goes on |
//!
//! # Source
//!
//! Kazoo's `Party` and `ShallowParty`.

mod join;
pub mod names;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use zookeeper_client as zk;

use crate::children;
use crate::client::{Client, Outage};
use crate::error::Result;
use crate::recipe::identifier;
use crate::session::{Attempt, Session, UNCHANGED};
use crate::wait::deadline::Timeout;
use crate::wait::{Budget, Cut};

pub use join::{join, leave, Joined, Joining};
use names::Member;

/// The identifiers of the members, in no order. A party that does not exist has none.
///
/// # Errors
/// [`crate::Error::NoAuth`], [`crate::Error::AuthFailed`], [`crate::Error::Unreachable`], [`crate::Error::Cancelled`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The party is read again while the time in `budget` lasts.
///
/// # Source
/// `kazoo.recipe.party`.
pub async fn members(client: &Client, party: &str, budget: &Budget) -> Result<Vec<String>> {
    client
        .answer(budget, party, |session| async move {
            let present = children::list(&session, party).await?;
            identifiers(&session, party, present).await
        })
        .await
}

/// Waits, by a watch on the party, until it has at least `enough` members, and returns their identifiers. When the time
/// is up, it returns those who are there so far. A party that does not exist yet is waited for.
///
/// # Errors
/// As [`members`]; [`crate::Error::Unreachable`] when the time is up and there is no connection: then it is not known
/// who is there.
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// It is waited for while the time in `budget` lasts.
///
/// # Source
/// `kazoo.recipe.party`.
pub async fn gather(client: &Client, party: &str, enough: usize, budget: &Budget) -> Result<Vec<String>> {
    let client = &client.watching(party.len());
    let seen: Mutex<Option<(Session, Vec<String>)>> = Mutex::new(None);
    let waits = AtomicBool::new(false);
    let attempt = |session: Session| {
        let (seen, waits) = (&seen, &waits);
        async move {
            children::watch_until(&session, party, |present| {
                let session = &session;
                async move {
                    let present = present.unwrap_or_default();
                    let members = identifiers(session, party, present).await?;
                    let is_enough = members.len() >= enough || budget.timeout() == Timeout::Once;
                    waits.store(true, Ordering::Relaxed);
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((session.clone(), members));
                    Ok(is_enough.then_some(()))
                }
            })
            .await
        }
    };
    let end = client.attempts(budget, party, Outage::OutlastedFrom(&waits), attempt).await;
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let present = seen.filter(|(session, _)| session.is_connected()).map(|(_, members)| members);
    match end {
        Ok(Ok(())) | Err(Cut::TimedOut) => present.ok_or_else(|| client.unreachable(budget.elapsed())),
        Ok(Err(error)) => Err(error),
        Err(Cut::Cancelled) => Err(client.cancelled(budget, party, UNCHANGED)),
    }
}

/// The identifiers of those children that are members.
async fn identifiers(session: &Session, party: &str, children: Vec<String>) -> Attempt<Vec<String>> {
    let mut present = Vec::with_capacity(children.len());
    let mut in_data = Vec::new();
    for child in children {
        match names::member(&child) {
            Some(Member::Named(identifier)) => present.push(identifier.to_owned()),
            Some(Member::InData) => in_data.push(child),
            None => {}
        }
    }
    for (name, read) in children::read(session, party, in_data).await? {
        match read {
            Ok((data, _)) => present.push(identifier::decode(&data).into_owned()),
            Err(zk::Error::NoNode) => {}
            Err(error) => return Err(session.failure(&error, "read", &format!("{party}/{name}"))),
        }
    }
    Ok(present)
}
