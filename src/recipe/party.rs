//! Who is present. Members are ephemeral znodes below the party's path, made by kazoo's `Party`
//! (identifier in the data) and `ShallowParty` (identifier in the name); other children do not count.
//!
//! Source: kazoo's party recipe (`kazoo.recipe.party`).

use zookeeper_client as zk;

use crate::deadline::{Deadline, Patience};
use crate::ensemble::Ensemble;
use crate::error::{Error, Result};
use crate::recipe::names::{self, Member};
use crate::recipe::{children, lease, or_missing};
use crate::record;
use crate::session::{Failure, Session, PAUSE, UNCHANGED};
use crate::wait::{Budget, Cut};

type Attempt<T> = std::result::Result<T, Failure>;

/// The identifiers present, in no order. A missing party has none. Nothing is created.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::Cancelled`].
pub async fn members(ensemble: &Ensemble, party: &str, budget: &Budget) -> Result<Vec<String>> {
    ensemble
        .answer(budget, party, |session| async move {
            let present = children(&session, party).await?;
            identifiers(&session, party, present).await
        })
        .await
}

/// Waits, by watch, until at least `enough` are present, and says who. When the time is up, says who
/// is there so far. A party that does not exist yet is waited for; nothing is created.
///
/// # Errors
/// As [`members`]; [`Error::Unreachable`] when the time is up and nobody has answered.
pub async fn gather(ensemble: &Ensemble, party: &str, enough: usize, budget: &Budget) -> Result<Vec<String>> {
    let ensemble = &ensemble.with_room(party.len());
    let mut present = None;
    let work = async {
        let mut opened = ensemble.session(budget, party).await;
        loop {
            let session = opened?;
            match watch(&session, party, enough, budget.patience(), &mut present).await {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Gone) => {}
                Err(Failure::Lost) => tokio::time::sleep(PAUSE).await,
            }
            opened = ensemble.session_again(budget, party).await;
        }
    };
    match budget.race(Deadline::NEVER, work).await {
        Ok(Ok(())) | Err(Cut::TimedOut) => present.ok_or_else(|| ensemble.unreachable(budget.spent())),
        Ok(Err(Error::Unreachable { .. })) if budget.is_spent() && present.is_some() => Ok(present.unwrap_or_default()),
        Ok(Err(error)) => Err(error),
        Err(Cut::Cancelled) => Err(ensemble.cancelled(budget, party, UNCHANGED)),
    }
}

async fn watch(
    session: &Session,
    party: &str,
    enough: usize,
    patience: Patience,
    present: &mut Option<Vec<String>>,
) -> Attempt<()> {
    let client = session.client();
    let refused = |error| session.failure(&error, "read", party);
    loop {
        let watcher = match or_missing(client.list_and_watch_children(party).await).map_err(refused)? {
            Some((children, watcher)) => {
                let members = identifiers(session, party, children).await?;
                let there = members.len() >= enough || patience == Patience::Once;
                *present = Some(members);
                if there {
                    return Ok(());
                }
                watcher
            }
            None => {
                *present = Some(Vec::new());
                if enough == 0 || patience == Patience::Once {
                    return Ok(());
                }
                let (stat, watcher) = client.check_and_watch_stat(party).await.map_err(refused)?;
                if stat.is_some() {
                    continue;
                }
                watcher
            }
        };
        if watcher.changed().await.event_type == zk::EventType::Session {
            return Err(Failure::Gone);
        }
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
    for (name, read) in lease::read(session, party, in_data).await? {
        match read {
            Ok((data, _)) => present.push(record::identifier(&data).into_owned()),
            Err(zk::Error::NoNode) => {}
            Err(error) => return Err(session.failure(&error, "read", &format!("{party}/{name}"))),
        }
    }
    Ok(present)
}
