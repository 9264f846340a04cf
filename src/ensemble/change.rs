//! A step, from decision to sync: the header of this folder has its table.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join;
use zookeeper_client as zk;

use crate::client::Client;
use crate::connect::findings::grouped;
use crate::ensemble::acquaint::stranger;
use crate::ensemble::configuration::{Configuration, Role};
use crate::ensemble::decision::{decide, Change, Mode, Plan, Seen, Standing, Step};
use crate::ensemble::survey::{parsed, survey, Scope, Survey, CONFIG, QUESTIONS};
use crate::ensemble::words::field;
use crate::error::{Error, Refusal, Result};
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::deadline::Deadline;
use crate::wait::{Budget, Cut};

const CHANGED: &str = "the ensemble was changed; whether all are in sync is not known";
const UNKNOWN: &str = "whether the ensemble was changed is not known; read its configuration before trying again";
/// The part of what is left of a call's time that silent servers may cost before a step: the rest is for the step.
const ASKING: f64 = 0.4;
/// The pauses between two looks at whether all are in sync: the first, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long one round of questions may take: a connection to a host without power is never closed.
const ROUND: Duration = Duration::from_secs(5);
/// How long no server may be in sync while a leader is elected, before that is said.
const SILENT: Duration = Duration::from_secs(1);

/// What the servers answer to a change that their protocol client has no name for.
const NEW_CONFIG_NO_QUORUM: i32 = -13;
const RECONFIG_IN_PROGRESS: i32 = -14;

/// What a change has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whether anything was changed; otherwise it was like that already.
    pub is_changed: bool,
    /// The configuration after it.
    pub configuration: Configuration,
}

/// How a step is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The port of the AdminServers; zero for none.
    pub admin_port: u16,
    /// Take it only from this version of the configuration.
    pub from: Option<u64>,
    /// Decide, and send nothing.
    pub only_decide: bool,
}

/// Who is in the ensemble, as new as the leader's state.
///
/// # Errors
/// Those of any read; [`Refusal::NoAnswer`] where it cannot be understood.
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The request is repeated while the time in `budget` lasts.
pub async fn configuration(client: &Client, budget: &Budget) -> Result<Configuration> {
    crate::ensemble::survey::configuration(client, budget).await
}

/// Takes a step, if the servers survive it, and waits until all are in sync again.
///
/// # Errors
/// [`Error::Ensemble`] with the reason why it was not taken; with [`Refusal::Syncing`] also where it was taken and not all
/// are in sync in time. [`Error::NoAuth`] where the configuration must not be read. [`Error::ConnectionLost`] where what
/// became of the request is not known.
///
/// # Cancellation
/// The error says whether the ensemble may have been changed.
///
/// # Lost connection
/// The request is repeated for the same version, so that it is carried out once.
pub async fn step(client: &Client, step: &Step, terms: Terms, budget: &Budget) -> Result<Changed> {
    let seen = gather(client, step, terms, budget).await?;
    if let Some(from) = terms.from.filter(|from| *from != seen.configuration.version) {
        return Err(conflict(from, seen.configuration.version));
    }
    let plan = decide(&seen, step).map_err(|(refusal, reason)| Error::ensemble(refusal, reason))?;
    let Some(plan) = plan else {
        return Ok(Changed { is_changed: false, configuration: seen.configuration });
    };
    if terms.only_decide {
        return Ok(Changed { is_changed: true, configuration: plan.target });
    }
    let configuration = send(client, &plan, budget).await?;
    let mut awaited: BTreeSet<i64> = seen.synced();
    awaited.extend(seen.joining.keys());
    awaited.retain(|id| configuration.member(*id).is_some());
    let at_least = configuration.version;
    wait_for(client, Some(&awaited), at_least, terms.admin_port, budget).await.map_err(|error| match error {
        Error::Ensemble { refusal, reason } => {
            let version = configuration.version;
            Error::ensemble(refusal, format!("the ensemble was changed to version {version:x}, and then: {reason}"))
        }
        Error::Cancelled { path, by, .. } => Error::Cancelled { path, by, consequence: CHANGED },
        other => other,
    })?;
    Ok(Changed { is_changed: true, configuration })
}

/// Waits until members are in sync: these, or all of them. A follower that is cut off from the leader says for a while
/// that it follows; so each has to know what the leader knew one look before.
///
/// # Errors
/// [`Refusal::Syncing`] where they are not in time, and who is not; [`Error::AuthFailed`], [`Error::NoTicket`],
/// [`Error::NoAuth`], [`Error::Tls`], [`Error::Argument`], which no waiting mends.
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The servers are asked again.
pub async fn wait(
    client: &Client,
    ids: Option<&BTreeSet<i64>>,
    admin_port: u16,
    budget: &Budget,
) -> Result<Configuration> {
    wait_for(client, ids, 0, admin_port, budget).await
}

/// As [`wait`]; a configuration of an older version than `at_least` is not the one that counts.
async fn wait_for(
    client: &Client,
    ids: Option<&BTreeSet<i64>>,
    at_least: u64,
    admin_port: u16,
    budget: &Budget,
) -> Result<Configuration> {
    let last = Mutex::new(None);
    let waiting = async {
        let (mut before, mut pause) = (None, PAUSE);
        let words = &QUESTIONS[..2];
        let scope = Scope { admin_port, straggling: Some(SILENT), words, most: Some(ROUND), step: None };
        loop {
            match survey(client, budget, scope).await {
                Ok(found) => {
                    if let Err(error) = found.configuration.as_ref() {
                        if is_lasting(error) {
                            return Err(error.clone());
                        }
                    }
                    match out_of_sync(&found, ids, at_least, before) {
                        Ok(configuration) => return Ok(configuration),
                        Err(reason) => {
                            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                            // At the end of the time the servers are cut short, and what they have said before tells more.
                            if last.is_none() || !budget.is_time_up() {
                                *last = Some(reason);
                            }
                        }
                    }
                    before = led(&found);
                }
                Err(error @ (Error::Unreachable { .. } | Error::ConnectionLost { .. })) => {
                    last.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 5 / 4);
        }
    };
    match budget.race(Deadline::NEVER, waiting).await {
        Ok(outcome) => outcome,
        Err(Cut::Cancelled) => Err(client.cancelled(budget, CONFIG, crate::session::UNCHANGED)),
        Err(Cut::TimedOut) => {
            let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
            let reason = last.unwrap_or_else(|| "no server has answered".to_owned());
            let seconds = budget.elapsed().as_secs_f64();
            Err(Error::ensemble(
                Refusal::Syncing,
                format!("not all members are in sync after {seconds:.1} s: {reason}"),
            ))
        }
    }
}

/// Whether no waiting mends an error.
fn is_lasting(error: &Error) -> bool {
    use Error as E;
    matches!(error, E::AuthFailed { .. } | E::NoTicket { .. } | E::NoAuth { .. } | E::Tls { .. } | E::Argument { .. })
}

/// The member that leads, and the last transaction that it knows.
fn led(found: &Survey) -> Option<(i64, u64)> {
    let leader = found.leader()?;
    Some((leader.member.as_ref()?.id, leader.zxid()?))
}

/// The configuration, if all these members are in sync, and know what the leader knew `before`; else who is not.
fn out_of_sync(
    found: &Survey,
    ids: Option<&BTreeSet<i64>>,
    at_least: u64,
    before: Option<(i64, u64)>,
) -> std::result::Result<Configuration, String> {
    let configuration = match &found.configuration {
        Ok(configuration) if configuration.version >= at_least => configuration,
        Ok(older) => return Err(format!("the configuration is at version {:x} still", older.version)),
        Err(error) => {
            let silent =
                found.servers.iter().filter_map(|server| Some((server.address.clone(), server.standing().why_not()?)));
            let silent = grouped(silent);
            let why = error.to_string();
            return Err(if silent.is_empty() || why.contains(&silent) { why } else { format!("{silent}; {why}") });
        }
    };
    let ordered = |before: &(i64, u64)| before.1 & u64::from(u32::MAX) > 0;
    let must_know = before.filter(ordered).map(|(_, zxid)| zxid);
    let is_behind =
        |id| must_know.is_some_and(|zxid| found.of(id).and_then(|it| it.zxid()).is_some_and(|it| it < zxid));
    let wanted = configuration.members().filter(|member| ids.is_none_or(|ids| ids.contains(&member.id)));
    let missing = wanted.filter_map(|member| {
        let standing = found.of(member.id).map_or(Standing::Syncing, |server| server.standing());
        let why = match (standing, member.role()) {
            // It serves in its old role, and stops for a moment to take up the new one.
            (Standing::Synced(Mode::Observer), Role::Participant) => "observes still".to_owned(),
            (Standing::Synced(Mode::Leader | Mode::Follower), Role::Observer) => "does not observe yet".to_owned(),
            (Standing::Synced(_), _) if is_behind(member.id) => "does not get on with the leader".to_owned(),
            (standing, _) => standing.why_not()?,
        };
        Some(format!("server.{} {why}", member.id))
    });
    let unknown = ids.into_iter().flatten().filter(|id| configuration.member(**id).is_none());
    let missing: Vec<_> = missing.chain(unknown.map(|id| format!("server.{id} is no member"))).collect();
    let leader = led(found).map(|(id, _)| id);
    if configuration.members().next().is_none() {
        Err("a server that stands alone has no members".to_owned())
    } else if !missing.is_empty() {
        Err(missing.join("; "))
    } else if leader.is_none() {
        // One that has just been removed leads for a moment more.
        Err("no member leads yet".to_owned())
    } else if leader != before.map(|(id, _)| id) {
        Err("whether they get on with the leader was not seen yet".to_owned())
    } else {
        Ok(configuration.clone())
    }
}

/// How many servers follow the leader, as it says, that are no members.
fn guests(found: &Survey, configuration: &Configuration) -> Option<u64> {
    let mntr = found.leader()?.fields("mntr")?;
    let count = |name| field(mntr, name).and_then(|text| text.parse::<u64>().ok());
    let observing = configuration
        .members()
        .filter(|member| !member.votes())
        .filter(|member| found.of(member.id).is_some_and(|server| server.standing().is_synced()));
    let others = count("zk_synced_observers")?.saturating_sub(observing.count() as u64);
    Some(count("zk_synced_non_voting_followers")? + others)
}

/// What there is to decide from: all servers, and each as it says of itself.
async fn gather(client: &Client, step: &Step, terms: Terms, budget: &Budget) -> Result<Seen> {
    let share = || budget.reach().saturating_sub(budget.elapsed()).mul_f64(ASKING);
    let (admin_port, most) = (terms.admin_port, Some(share()));
    let scope = Scope { admin_port, straggling: None, words: QUESTIONS, most, step: Some(step) };
    let found = survey(client, budget, scope).await?;
    let configuration = found.configuration.clone()?;
    let mut seen = Seen { guests: guests(&found, &configuration), ..Seen::default() };
    for member in configuration.members() {
        if let Some(server) = found.of(member.id) {
            seen.members.insert(member.id, server.standing());
        }
    }
    let end = Instant::now() + share();
    for server in &found.joining {
        let Some(member) = &server.member else { continue };
        let mut standing = server.standing();
        if standing.is_synced() && seen.guests.is_none() && server.fields("conf").is_none() {
            let asking = stranger(client, &server.address, member.id, &configuration, end);
            match budget.race(Deadline::NEVER, asking).await {
                Ok(why) => standing = why.map_or(standing, Standing::Silent),
                Err(Cut::Cancelled) => return Err(client.cancelled(budget, CONFIG, crate::session::UNCHANGED)),
                Err(Cut::TimedOut) => return Err(client.unreachable(budget.elapsed())),
            }
        }
        seen.joining.insert(member.id, standing);
    }
    seen.configuration = configuration;
    Ok(seen)
}

fn conflict(from: u64, now: u64) -> Error {
    let reason = format!(
        "somebody else has changed the ensemble: its configuration is at version {now:x}, and the step was planned from \
         {from:x}; look at the members, and try again"
    );
    Error::ensemble(Refusal::Conflict, reason)
}

/// Sends a plan. After a lost reply the configuration tells whether it was carried out.
async fn send(client: &Client, plan: &Plan, budget: &Budget) -> Result<Configuration> {
    let unacknowledged = Arc::new(Unacknowledged::new(UNKNOWN));
    let from = i64::try_from(plan.from)
        .map_err(|_| Error::ensemble(Refusal::NoAnswer, format!("{CONFIG} has a version that is none")))?;
    let attempt = |session: Session| {
        let unacknowledged = unacknowledged.clone();
        async move {
            if unacknowledged.is_any() {
                if let Some(done) = resolved(&session, plan, &unacknowledged).await? {
                    return Ok(done);
                }
            }
            let changing = session.writes(&unacknowledged).reconfigure(plan.update(), from);
            match changing.await {
                Ok(data) => parsed(&data).map_err(Failure::Final),
                // Whoever was faster may have made the same change.
                Err(zk::Error::BadVersion) => match resolved(&session, plan, &unacknowledged).await? {
                    Some(done) => Ok(done),
                    None => Err(in_progress()),
                },
                Err(error) => Err(refused(&session, &error)),
            }
        }
    };
    client.write(budget, CONFIG, &unacknowledged, attempt).await
}

/// The configuration, if it is what was planned; `None`, if it is still the one that was planned from.
async fn resolved(session: &Session, plan: &Plan, unacknowledged: &Unacknowledged) -> Attempt<Option<Configuration>> {
    let (synced, read) = join(session.sync(CONFIG), session.get_data(CONFIG)).await;
    let lost = |error| session.failure(&error, "read", CONFIG);
    synced.map_err(lost)?;
    let now = parsed(&read.map_err(lost)?.0).map_err(Failure::Final)?;
    if now.version == plan.from {
        return Ok(None);
    }
    if now.is_same(&plan.target) {
        return Ok(Some(now));
    }
    if unacknowledged.is_any() {
        // Somebody else may have gone on from this very change.
        return Err(Failure::Final(session.connection_lost(CONFIG, unacknowledged)));
    }
    Err(Failure::Final(conflict(plan.from, now.version)))
}

fn in_progress() -> Failure {
    let reason = "another change of the ensemble is being made; try again when it is finished";
    Failure::Final(Error::ensemble(Refusal::InProgress, reason))
}

/// What an error of the request means.
fn refused(session: &Session, error: &zk::Error) -> Failure {
    let refusal = |refusal, reason: String| Failure::Final(Error::ensemble(refusal, reason));
    match error {
        zk::Error::ReconfigDisabled => refusal(
            Refusal::Disabled,
            "the servers refuse to be changed: set reconfigEnabled=true in each server's zoo.cfg, and restart them one \
             after the other"
                .to_owned(),
        ),
        zk::Error::UnexpectedErrorCode(NEW_CONFIG_NO_QUORUM) => refusal(
            Refusal::NoQuorum,
            "the leader finds no quorum of the new members connected and in sync; start those that are not up, and try \
             again"
                .to_owned(),
        ),
        zk::Error::UnexpectedErrorCode(RECONFIG_IN_PROGRESS) => in_progress(),
        zk::Error::NoAuth => {
            let user = session.user();
            refusal(
                Refusal::Forbidden,
                format!(
                    "not permitted to change the ensemble as {user}: the ACL of {CONFIG} gives it no write permission; \
                     connect as the servers' super user, or let that one give it: set_acls {CONFIG} with an entry for {user}"
                ),
            )
        }
        zk::Error::BadArguments(_) => refusal(
            Refusal::Unsafe,
            "the servers refuse these members: they take no ensemble with fewer than two participants unless \
             standaloneEnabled=false, no member without an address for clients, and none at an address that is taken"
                .to_owned(),
        ),
        zk::Error::Unimplemented => {
            refusal(Refusal::Unsafe, "a server that stands alone cannot be changed: start it with a list of servers".to_owned())
        }
        other => session.failure(other, "reconfigure", CONFIG),
    }
}

impl Plan {
    fn update(&self) -> zk::EnsembleUpdate<'_, Texts<'_>> {
        match &self.change {
            Change::Incremental(joining, leaving) => {
                zk::EnsembleUpdate::Incremental { joinings: Texts(joining.iter()), leavings: Texts(leaving.iter()) }
            }
            Change::Whole(lines) => zk::EnsembleUpdate::New { ensemble: Texts(lines.iter()) },
        }
    }
}

/// Texts, as the protocol client wants to go through them.
#[derive(Clone)]
pub(crate) struct Texts<'a>(std::slice::Iter<'a, String>);

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0.next().map(String::as_str)
    }
}
