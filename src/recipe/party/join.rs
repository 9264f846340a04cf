//! Joining a party, and leaving it.

use std::sync::{Mutex, PoisonError};

use futures::future::join as both;
use zookeeper_client as zk;

use super::names::{self, Member};
use crate::acl;
use crate::children;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::path;
use crate::recipe::semaphore::{give_back, Hold, Of};
use crate::session::{Attempt, Session, Unacknowledged};
use crate::wait::Budget;

/// Who joins which party, and how.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The party's full path.
    pub party: String,
    /// Who is to be listed.
    pub identifier: String,
    /// Whether the identifier stands in the name of the member's znode, as in kazoo's `ShallowParty`.
    pub shallow: bool,
    /// Whether the member is removed with the session.
    pub ephemeral: bool,
    /// The ACL of the znodes that are created; empty for everything to everybody.
    pub acl: acl::List,
}

impl Joining {
    /// # Errors
    /// [`Error::Argument`]: an identifier that cannot stand in the name of a znode.
    pub fn new(party: String, identifier: String, shallow: bool, ephemeral: bool, acl: acl::List) -> Result<Self> {
        if shallow && identifier.chars().any(|each| each == '/' || path::is_forbidden(each)) {
            let reason = "stands in the name of the member's znode, so no slash and no control character may be in it";
            return Err(Error::argument("identifier", reason));
        }
        Ok(Self { party, identifier, shallow, ephemeral, acl })
    }
}

/// How joining ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// This call has made a member.
    New(Hold),
    /// The identifier was a member before, which lasts as long as the one asked for would.
    Already,
}

/// Makes the identifier a member. With `own` it gets a member of its own, whoever is there; else it is asked first
/// whether it is one. The party and its parents are made when they are missing.
///
/// # Errors
/// [`Error::NoAuth`], [`Error::AuthFailed`], [`Error::Unreachable`], [`Error::ConnectionLost`], [`Error::Cancelled`],
/// [`Error::Server`].
///
/// # Cancellation
/// There is no member of this call, or it is deleted in the background as soon as a server answers.
///
/// # Lost connection
/// The member is looked for by its name, which is unique, and made where it is not there. An ephemeral one is made
/// anew in a new session.
///
/// # Source
/// Kazoo's `Party` and `ShallowParty`; lost replies after Curator's protected creates.
pub async fn join(client: &Client, joining: &Joining, own: bool, budget: &Budget) -> Result<Joined> {
    let unacknowledged = Unacknowledged::new(Of::Party.unresolved());
    let asked: Mutex<Option<Hold>> = Mutex::new(None);
    let attempt = |session: Session| {
        let (unacknowledged, asked) = (&unacknowledged, &asked);
        async move { try_join(&session, joining, own, unacknowledged, asked).await }
    };
    let joined = client.write(budget, &joining.party, &unacknowledged, attempt).await;
    let asked = asked.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let (Err(_), true, Some(member)) = (&joined, unacknowledged.is_any(), asked) {
        give_back(client, member);
    }
    joined
}

async fn try_join(
    session: &Session,
    joining: &Joining,
    own: bool,
    unacknowledged: &Unacknowledged,
    asked: &Mutex<Option<Hold>>,
) -> Attempt<Joined> {
    let before = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // The servers remove an ephemeral one with its session, which may last longer for them than for its client.
    let before = before.filter(|member| !joining.ephemeral || member.session == session.id());
    if let Some(member) = before.clone().filter(|_| unacknowledged.is_any()) {
        let path = member.path();
        let (synced, stat) = both(session.sync(&path), session.check_stat(&path)).await;
        let refused = |error| session.failure(&error, "read", &path);
        synced.map_err(refused)?;
        if let Some(stat) = stat.map_err(refused)? {
            return Ok(Joined::New(member.made(Some(stat.czxid))));
        }
    }
    let key = joined_key(&joining.party, &joining.identifier);
    if !own {
        // A member of this session that is not remembered belongs to a piece of work, and ends with that.
        let joined = session.remembered(&key);
        let lasts = |(name, stat): &(String, zk::Stat)| match joining.ephemeral {
            true => stat.ephemeral_owner == session.id() && joined.contains(name),
            false => stat.ephemeral_owner == 0,
        };
        if members_of(session, &joining.party, &joining.identifier).await?.iter().any(lasts) {
            return Ok(Joined::Already);
        }
    }
    let name = match before {
        Some(member) => member.lease,
        None => names::new(joining.shallow.then_some(joining.identifier.as_str())),
    };
    let member = Hold::of_member(&joining.party, &joining.identifier, name, session.id(), joining.ephemeral);
    *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(member.clone());
    let path = member.path();
    if joining.ephemeral {
        session.keep_for_alone(&path);
        if !own {
            session.remember(&key, &member.lease);
        }
    }
    match create(session, joining, &path, unacknowledged).await {
        Ok(stat) => Ok(Joined::New(member.made(Some(stat.czxid)))),
        Err(zk::Error::NodeExists) => {
            // Nobody else has this name: an earlier request was carried out after all.
            let stat = session.check_stat(&path).await.map_err(|error| session.failure(&error, "read", &path))?;
            Ok(Joined::New(member.made(stat.map(|stat| stat.czxid))))
        }
        Err(error) => {
            if !unacknowledged.is_any() {
                session.keep_no_more_for(&path);
                session.forget(&key, &member.lease);
            }
            Err(session.failure(&error, "create", &path))
        }
    }
}

/// Creates the member; the party and its parents first where there is no party.
async fn create(
    session: &Session,
    joining: &Joining,
    path: &str,
    unacknowledged: &Unacknowledged,
) -> crate::session::Reply<zk::Stat> {
    let acls = joining.acl.of_new_znode();
    let mode = if joining.ephemeral { zk::CreateMode::Ephemeral } else { zk::CreateMode::Persistent };
    let (data, options) = (joining.identifier.as_bytes(), mode.with_acls(acls));
    match session.writes(unacknowledged).create(path, data, &options).await {
        Err(zk::Error::NoNode) => {}
        made => return made.map(|(stat, _)| stat),
    }
    let making = session.make_parents(path::parents(path), acls, unacknowledged);
    let (refused, made) = both(making, session.writes(unacknowledged).create(path, data, &options)).await;
    match (made, refused) {
        (Err(zk::Error::NoNode), Some(refused)) => Err(refused),
        (made, _) => made.map(|(stat, _)| stat),
    }
}

/// Removes all members of an identifier, whoever has made them: whether there was one.
///
/// # Errors
/// [`Error::Argument`]: an empty identifier, which is that of every member that says none;
/// [`Error::NoAuth`] where the party's ACL gives no delete permission; [`Error::AuthFailed`], [`Error::Unreachable`],
/// [`Error::ConnectionLost`], [`Error::Cancelled`], [`Error::Server`].
///
/// # Cancellation
/// The error says whether members may have been removed already.
///
/// # Lost connection
/// The same members are deleted again, and those that are gone by then count as removed. One that joined since is left
/// alone.
///
/// # Source
/// Kazoo's `Party` and `ShallowParty`.
pub async fn leave(client: &Client, party: &str, identifier: &str, budget: &Budget) -> Result<bool> {
    if identifier.is_empty() {
        return Err(Error::argument("identifier", "must not be empty"));
    }
    let unacknowledged = Unacknowledged::new("the identifier may have left the party, or not; ask party_members");
    let chosen: Mutex<Option<Vec<String>>> = Mutex::new(None);
    let attempt = |session: Session| {
        let (unacknowledged, chosen) = (&unacknowledged, &chosen);
        async move {
            let known = chosen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let names = match known {
                Some(names) => names,
                None => {
                    let found = members_of(&session, party, identifier).await?;
                    let found: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
                    *chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
                    found
                }
            };
            let mut was_there = unacknowledged.is_any();
            for name in names {
                let path = format!("{party}/{name}");
                client.removes(&path);
                match session.writes(unacknowledged).delete(&path, None).await {
                    Ok(()) => was_there = true,
                    Err(zk::Error::NoNode) => {}
                    Err(error) => return Err(session.failure(&error, "delete", &path)),
                }
                session.keep_no_more_for(&path);
                session.forget(&joined_key(party, identifier), &name);
            }
            Ok(was_there)
        }
    };
    client.write(budget, party, &unacknowledged, attempt).await
}

/// Under which key a session remembers the members that joined until they leave, and not for a piece of work.
fn joined_key(party: &str, identifier: &str) -> String {
    format!("{party}//{identifier}")
}

/// The znodes of an identifier's members.
async fn members_of(session: &Session, party: &str, identifier: &str) -> Attempt<Vec<(String, zk::Stat)>> {
    let is_candidate = |name: &String| match names::member(name) {
        Some(Member::Named(named)) => named == identifier,
        Some(Member::InData) => true,
        None => false,
    };
    let candidates = children::list(session, party).await?.into_iter().filter(is_candidate).collect();
    let mut found = Vec::new();
    for (name, read) in children::read(session, party, candidates).await? {
        match read {
            Ok((data, stat)) if names::member(&name) != Some(Member::InData) || data == identifier.as_bytes() => {
                found.push((name, stat));
            }
            Ok(_) | Err(zk::Error::NoNode) => {}
            Err(error) => return Err(session.failure(&error, "read", &format!("{party}/{name}"))),
        }
    }
    Ok(found)
}
