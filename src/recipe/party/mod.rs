//! Who is present. Members are ephemeral znodes below the party's path, made by kazoo's `Party`
//! (identifier in the data) and `ShallowParty` (identifier in the name); other children do not count.
//!
//! Source: kazoo's party recipe (`kazoo.recipe.party`).

pub mod names;

use std::sync::{Mutex, PoisonError};

use zookeeper_client as zk;

use crate::children;
use crate::client::{Client, Outage};
use crate::error::Result;
use crate::recipe::identifier;
use crate::session::{Attempt, Session, UNCHANGED};
use crate::wait::deadline::Timeout;
use crate::wait::{Budget, Cut};

use names::Member;

/// The identifiers present, in no order. A missing party has none. Nothing is created.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::Cancelled`].
pub async fn members(client: &Client, party: &str, budget: &Budget) -> Result<Vec<String>> {
    client
        .answer(budget, party, |session| async move {
            let present = children::list(&session, party).await?;
            identifiers(&session, party, present).await
        })
        .await
}

/// Waits, by watch, until at least `enough` are present, and says who. When the time is up, says who
/// is there so far. A party that does not exist yet is waited for; nothing is created.
///
/// # Errors
/// As [`members`]; [`Error::Unreachable`] when the time is up and there is no connection: who is there is not known.
pub async fn gather(client: &Client, party: &str, enough: usize, budget: &Budget) -> Result<Vec<String>> {
    let client = &client.watching(party.len());
    let seen: Mutex<Option<(Session, Vec<String>)>> = Mutex::new(None);
    let attempt = |session: Session| {
        let seen = &seen;
        async move {
            children::watch_until(&session, party, |present| {
                let session = &session;
                async move {
                    let present = present.unwrap_or_default();
                    let members = identifiers(session, party, present).await?;
                    let is_enough = members.len() >= enough || budget.timeout() == Timeout::Once;
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((session.clone(), members));
                    Ok(is_enough.then_some(()))
                }
            })
            .await
        }
    };
    let end = client.attempts(budget, party, Outage::IsOutlasted, attempt).await;
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
