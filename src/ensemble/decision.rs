//! Whether a step may be taken: from the configuration, and what each server says of itself. Pure.
//!
//! | a step is refused when | because |
//! | --- | --- |
//! | its configuration has no participant, or a voter in no group | nobody could lead |
//! | an id or an address is taken twice | two servers would pass for one |
//! | the members in sync are no quorum now | nothing can be committed |
//! | a member that stays is still catching up | the step before is not finished: a failure now could lose the quorum |
//! | the member at an id is not the server that is to go | the id has been given to another one meanwhile |
//! | a joining server does not serve, leads others, or follows others | it would count, and not help |
//! | the members in sync are no quorum afterwards | the ensemble would stop with the step |
//!
//! The servers see to some of this themselves, and not to all: they take a joining server that is not there.

use std::collections::{BTreeMap, BTreeSet};

use crate::ensemble::configuration::{Configuration, Member};
use crate::ensemble::quorum::{defect, is_quorum};
use crate::error::Refusal;

/// What a server that is in sync is to its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It leads.
    Leader,
    /// It follows; one that is no member yet follows without a vote.
    Follower,
    /// It observes.
    Observer,
}

impl Mode {
    /// The server's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
        }
    }
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It serves, and has all that the leader had when it began to.
    Synced(Mode),
    /// It runs and does not serve: it takes part in an election, or catches up.
    Syncing,
    /// It is not part of an ensemble: it stands alone.
    Alone,
    /// It serves reads, and has no quorum.
    ReadOnly,
    /// It did not answer, or nothing of use: why.
    Silent(String),
}

impl Standing {
    /// Whether it is in sync.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        matches!(self, Self::Synced(_))
    }

    /// Why it is not in sync, where it is not: what follows its name in a sentence.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        (!self.is_synced()).then(|| self.described())
    }

    /// Whether it is in sync in a member's role: a participant that observes still has no vote that counts.
    #[must_use]
    pub fn serves_as(&self, member: &Member) -> bool {
        match self {
            Self::Synced(Mode::Observer) => !member.votes(),
            other => other.is_synced(),
        }
    }

    fn described(&self) -> String {
        match self {
            Self::Synced(Mode::Observer) => "observes still".to_owned(),
            Self::Synced(mode) => format!("is a {}", mode.name()),
            Self::Syncing => "is not currently serving requests: it has no leader, or catches up".to_owned(),
            Self::Alone => "stands alone: it was started without a list of servers".to_owned(),
            Self::ReadOnly => "has no quorum, and serves reads only".to_owned(),
            Self::Silent(why) => why.clone(),
        }
    }
}

/// An ensemble at one moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Who is in it.
    pub configuration: Configuration,
    /// What each member says of itself. One that is not here has not answered.
    pub members: BTreeMap<i64, Standing>,
    /// What each server says of itself that is to join, or that is to move to another address.
    pub joining: BTreeMap<i64, Standing>,
    /// How many servers follow the leader that are no members, if it says so. Who is to join is among them, unless it
    /// follows the leader of another ensemble.
    pub guests: Option<u64>,
}

impl Seen {
    /// The members that are in sync in their roles.
    #[must_use]
    pub fn synced(&self) -> BTreeSet<i64> {
        let serves = |member: &&Member| self.members.get(&member.id).is_some_and(|it| it.serves_as(member));
        self.configuration.members().filter(serves).map(|member| member.id).collect()
    }

    /// The members of `target` that are, or would be, in sync in their roles there.
    fn ready_for(&self, target: &Configuration) -> BTreeSet<i64> {
        let serves = |member: &&Member| {
            let stays = self.configuration.member(member.id).is_some_and(|before| before.has_addresses_of(member));
            let known = if stays { &self.members } else { &self.joining };
            known.get(&member.id).is_some_and(|it| it.serves_as(member))
        };
        target.members().filter(serves).map(|member| member.id).collect()
    }
}

/// A change of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A server joins, or changes its role.
    Join(Member),
    /// A member leaves.
    Leave(i64),
    /// This server leaves, unless its id is another one's by now.
    LeaveOnly(Member),
    /// This configuration, in place of the one that there is.
    Whole(Configuration),
}

/// A change that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The version of the configuration that it was planned from.
    pub from: u64,
    /// What the configuration will be.
    pub target: Configuration,
    /// What to send.
    pub change: Change,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Members that join, and ids that leave.
    Incremental(Vec<String>, Vec<String>),
    /// All lines of the configuration.
    Whole(Vec<String>),
}

/// A refusal, and its reason for people.
pub type Refused = (Refusal, String);

/// Decides over a step: the change to send; `None` where the configuration is like that already; or why not.
///
/// # Errors
/// [`Refusal::Unsafe`], [`Refusal::NoQuorum`], [`Refusal::Syncing`], [`Refusal::NotReady`].
pub fn decide(seen: &Seen, step: &Step) -> Result<Option<Plan>, Refused> {
    let now = &seen.configuration;
    if now.members().next().is_none() {
        let reason = "a server that stands alone has no members to change: start it with a list of servers";
        return Err((Refusal::Unsafe, reason.to_owned()));
    }
    let target = target(now, step)?;
    if target.is_same(now) {
        return Ok(None);
    }
    check_members(&target)?;
    let synced = seen.synced();
    if !is_quorum(now, &synced) {
        let reason =
            format!("no quorum of the members is in sync now, and nothing can be changed: {}", others(seen, now));
        return Err((Refusal::NoQuorum, reason));
    }
    check_syncing(seen, &target)?;
    for member in joining(now, &target) {
        check_joining(seen, now, member)?;
    }
    let ready = seen.ready_for(&target);
    check_guests(seen, &joining(now, &target).map(|member| member.id).collect::<Vec<_>>())?;
    if !is_quorum(&target, &ready) {
        let there: Vec<_> = ready.iter().map(|id| format!("server.{id}")).collect();
        let there = if there.is_empty() { "none of them".to_owned() } else { there.join(", ") };
        let voters = target.voters().count();
        let reason = format!(
            "the ensemble would have no quorum: of its {voters} participants, {there} would be up and in sync; {}",
            others(seen, &target)
        );
        return Err((Refusal::NoQuorum, reason));
    }
    Ok(Some(Plan { from: now.version, change: change(now, &target, step), target }))
}

/// The steps from a configuration to exactly these members: first those that join, or vote from then on, then those that
/// move, then those that vote no more, then those that leave. Among each of these the leader is last, so that there is one
/// election at most.
#[must_use]
pub fn steps(now: &Configuration, wanted: &[Member], leader: Option<i64>) -> Vec<Step> {
    let stays = |id: i64| wanted.iter().any(|member| member.id == id);
    let (moving, others): (Vec<_>, Vec<_>) =
        wanted.iter().partition(|member| now.member(member.id).is_some_and(|before| !before.has_addresses_of(member)));
    let differs = |member: &&&Member| !now.member(member.id).is_some_and(|before| before.is_same(member));
    let is_demoted = |member: &&Member| !member.votes() && now.member(member.id).is_some_and(Member::votes);
    let (mut demoted, joining): (Vec<_>, Vec<_>) = others.iter().filter(differs).copied().partition(is_demoted);
    let mut moving = moving;
    for of_them in [&mut demoted, &mut moving] {
        of_them.sort_by_key(|member| Some(member.id) == leader);
    }
    let join = |member: &Member| Step::Join(member.clone());
    let moved = moving.into_iter().flat_map(|member| [Step::Leave(member.id), join(member)]);
    let mut leaving: Vec<_> = now.members().map(|member| member.id).filter(|id| !stays(*id)).collect();
    leaving.sort_by_key(|id| (Some(*id) == leader, *id));
    let joined = joining.into_iter().map(join).chain(moved).chain(demoted.into_iter().map(join));
    joined.chain(leaving.into_iter().map(Step::Leave)).collect()
}

/// The servers that a step adds or moves, and that have to be asked what they say of themselves.
#[must_use]
pub fn to_ask(now: &Configuration, step: &Step) -> Vec<Member> {
    target(now, step).map_or_else(|_| Vec::new(), |target| joining(now, &target).cloned().collect())
}

fn target(now: &Configuration, step: &Step) -> Result<Configuration, Refused> {
    match step {
        Step::Leave(id) => Ok(now.without(*id)),
        Step::LeaveOnly(member) => match now.member(member.id) {
            Some(other) if !other.has_addresses_of(member) => {
                let id = member.id;
                let reason = format!("{member} is no member: id {id} is {other}; name that, or the id alone");
                Err((Refusal::Unsafe, reason))
            }
            _ => Ok(now.without(member.id)),
        },
        Step::Whole(target) => Ok(Configuration { version: now.version, ..target.clone() }),
        Step::Join(member) => match now.member(member.id) {
            Some(before) if before.is_same(member) => Ok(now.clone()),
            Some(before) if !before.has_addresses_of(member) => {
                let id = member.id;
                Err((Refusal::Unsafe, format!("id {id} is taken: {before}; choose another, or remove that one first")))
            }
            None if now.is_hierarchical() => {
                let reason = format!("its voters are in groups, and server.{} needs one: give all lines", member.id);
                Err((Refusal::Unsafe, reason))
            }
            _ => Ok(now.with(member.clone())),
        },
    }
}

/// The members of `target` that are not at the same addresses now.
fn joining<'a>(now: &'a Configuration, target: &'a Configuration) -> impl Iterator<Item = &'a Member> {
    target.members().filter(|member| !now.member(member.id).is_some_and(|before| before.has_addresses_of(member)))
}

fn check_members(target: &Configuration) -> Result<(), Refused> {
    let refused = |reason| Err((Refusal::Unsafe, reason));
    if let Some(defect) = defect(target) {
        return refused(format!("the configuration could not be run: {defect}"));
    }
    let members: Vec<_> = target.members().collect();
    for (number, member) in members.iter().enumerate() {
        for other in &members[..number] {
            if member.id == other.id {
                return refused(format!("id {} is there twice", member.id));
            }
            if let Some(shared) = member.shares(other) {
                return refused(format!("{shared} is taken by {other}: server.{} has it too", member.id));
            }
        }
    }
    Ok(())
}

fn check_syncing(seen: &Seen, target: &Configuration) -> Result<(), Refused> {
    let staying = seen.configuration.members().filter(|member| target.member(member.id).is_some());
    let mut catching_up = staying.filter(|member| seen.members.get(&member.id) == Some(&Standing::Syncing));
    if let Some(member) = catching_up.next() {
        let reason = format!("server.{} {}; try again when it is in sync", member.id, Standing::Syncing.described());
        return Err((Refusal::Syncing, reason));
    }
    Ok(())
}

fn check_joining(seen: &Seen, now: &Configuration, member: &Member) -> Result<(), Refused> {
    let silent = Standing::Silent("was not asked".to_owned());
    let standing = seen.joining.get(&member.id).unwrap_or(&silent);
    match standing {
        Standing::Synced(Mode::Follower | Mode::Observer) => Ok(()),
        Standing::Synced(Mode::Leader) => {
            let reason = format!("server.{} leads an ensemble of its own, and cannot join this one", member.id);
            Err((Refusal::NotReady, reason))
        }
        other => {
            let ids: Vec<_> = now.members().map(|it| it.id.to_string()).collect();
            let reason = format!(
                "server.{} cannot join yet: it {}. Start it with all of the members ({}) in its list, and itself",
                member.id,
                other.described(),
                ids.join(", ")
            );
            Err((Refusal::NotReady, reason))
        }
    }
}

/// A server of another ensemble serves as well, and would never be of use here.
fn check_guests(seen: &Seen, joining: &[i64]) -> Result<(), Refused> {
    let Some(guests) = seen.guests.filter(|guests| *guests < joining.len() as u64) else { return Ok(()) };
    let named: Vec<_> = joining.iter().map(|id| format!("server.{id}")).collect();
    let reason = format!(
        "{} cannot join yet: the leader is followed by {guests} servers that are no members, so that another ensemble's is \
         followed. Look at the list of servers that it was started with",
        named.join(", ")
    );
    Err((Refusal::NotReady, reason))
}

/// Those voters that are not in sync, and why.
fn others(seen: &Seen, configuration: &Configuration) -> String {
    let silent = Standing::Silent("did not answer".to_owned());
    let standing = |id| seen.members.get(id).or_else(|| seen.joining.get(id)).unwrap_or(&silent);
    let missing = configuration.voters().map(|voter| (voter, standing(&voter.id)));
    let missing: Vec<_> = missing
        .filter(|(voter, standing)| !standing.serves_as(voter))
        .map(|(voter, standing)| format!("server.{} {}", voter.id, standing.described()))
        .collect();
    if missing.is_empty() {
        "all of them are in sync".to_owned()
    } else {
        missing.join("; ")
    }
}

fn change(now: &Configuration, target: &Configuration, step: &Step) -> Change {
    if matches!(step, Step::Whole(_)) || now.is_hierarchical() || target.is_hierarchical() {
        return Change::Whole(target.texts());
    }
    match step {
        Step::Join(member) => Change::Incremental(vec![member.to_string()], Vec::new()),
        Step::Leave(id) | Step::LeaveOnly(Member { id, .. }) => Change::Incremental(Vec::new(), vec![id.to_string()]),
        Step::Whole(_) => Change::Whole(target.texts()),
    }
}
