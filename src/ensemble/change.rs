//! A step, from decision to sync: the header of this folder has its table.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join;
use zookeeper_client as zk;

use crate::client::Client;
use crate::ensemble::configuration::{Configuration, Role};
use crate::ensemble::decision::{decide, to_ask, Change, Mode, Plan, Seen, Standing, Step};
use crate::ensemble::survey::{address_of, asking, parsed, survey, Survey, Surveyed, CONFIG, QUESTIONS};
use crate::ensemble::words::{field, standing};
use crate::error::{Error, Refusal, Result};
use crate::session::{Attempt, Failure, Session, Unacknowledged};
use crate::wait::deadline::Deadline;
use crate::wait::{Budget, Cut};

const UNKNOWN: &str = "whether the ensemble was changed is not known; read its configuration before trying again";
/// The part of a call's time that silent servers may cost before a step: the rest is for the step.
const ASKING: f64 = 0.4;
/// The pause between two looks at whether all are in sync.
const PAUSE: Duration = Duration::from_millis(100);
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
    let (survey, seen) = gather(client, step, terms, budget).await?;
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
    drop(survey);
    wait(client, Some(&awaited), terms.admin_port, budget).await.map_err(|error| match error {
        Error::Ensemble { refusal, reason } => {
            let version = configuration.version;
            Error::ensemble(refusal, format!("the ensemble was changed to version {version:x}, and then: {reason}"))
        }
        other => other,
    })?;
    Ok(Changed { is_changed: true, configuration })
}

/// Waits until members are in sync and the leader brings nobody up to date: these, or all of them.
///
/// # Errors
/// [`Refusal::Syncing`] where they are not in time, and who is not.
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
    let last = Mutex::new(None);
    let waiting = async {
        loop {
            match survey(client, budget, admin_port, Some(SILENT)).await {
                Ok(found) => match out_of_sync(&found, ids) {
                    Ok(configuration) => return Ok(configuration),
                    Err(reason) => *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason),
                },
                Err(error @ (Error::Unreachable { .. } | Error::ConnectionLost { .. })) => {
                    // At the end of the time the servers are cut short, and what they have said before tells more.
                    last.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
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

/// The configuration, if all these members are in sync; else who is not.
fn out_of_sync(found: &Survey, ids: Option<&BTreeSet<i64>>) -> std::result::Result<Configuration, String> {
    let configuration = found.configuration.as_ref().map_err(ToString::to_string)?;
    let wanted = configuration.members().filter(|member| ids.is_none_or(|ids| ids.contains(&member.id)));
    let missing: Vec<_> = wanted
        .filter_map(|member| {
            let standing = found.of(member.id).map_or(Standing::Syncing, |server| server.standing());
            let why = match (standing, member.role()) {
                // It serves in its old role, and stops for a moment to take up the new one.
                (Standing::Synced(Mode::Observer), Role::Participant) => "observes still".to_owned(),
                (Standing::Synced(Mode::Leader | Mode::Follower), Role::Observer) => "does not observe yet".to_owned(),
                (standing, _) => standing.why_not()?,
            };
            Some(format!("server.{} {why}", member.id))
        })
        .collect();
    // One that has just been removed leads for a moment more.
    let leads = |id| found.of(id).is_some_and(|server| server.standing() == Standing::Synced(Mode::Leader));
    let is_led = configuration.members().any(|member| leads(member.id));
    let pending = pending_syncs(found);
    let is_alone = configuration.members().next().is_none();
    if !missing.is_empty() {
        Err(missing.join("; "))
    } else if pending > 0 {
        Err(format!("the leader is bringing {pending} up to date"))
    } else if is_alone {
        Err("a server that stands alone has no members".to_owned())
    } else if !is_led {
        Err("no member leads yet".to_owned())
    } else {
        Ok(configuration.clone())
    }
}

/// How many servers the leader says it is bringing up to date.
fn pending_syncs(found: &Survey) -> u64 {
    let of = |fields| field(fields, "zk_pending_syncs").and_then(|text| text.parse::<f64>().ok());
    let pending = found.servers.iter().filter_map(|server| server.fields("mntr").and_then(of)).fold(0.0, f64::max);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = pending.ceil() as u64;
    whole
}

/// How many servers follow the leader, as it says, that are no members.
fn guests(found: &Survey, configuration: &Configuration) -> Option<u64> {
    let leads = |server: &&Surveyed| server.standing() == Standing::Synced(Mode::Leader);
    let mntr = found.servers.iter().find(leads)?.fields("mntr")?;
    let count = |name| field(mntr, name).and_then(|text| text.parse::<u64>().ok());
    let observing = configuration
        .members()
        .filter(|member| !member.votes())
        .filter(|member| found.of(member.id).is_some_and(|server| server.standing().is_synced()));
    let others = count("zk_synced_observers")?.saturating_sub(observing.count() as u64);
    Some(count("zk_synced_non_voting_followers")? + others)
}

/// What there is to decide from: all servers, and each as it says of itself.
async fn gather(client: &Client, step: &Step, terms: Terms, budget: &Budget) -> Result<(Survey, Seen)> {
    let half = budget.part(ASKING);
    let found = survey(client, &half, terms.admin_port, None).await?;
    let configuration = found.configuration.clone()?;
    let to_ask = to_ask(&configuration, step);
    let guests = guests(&found, &configuration);
    let mut seen = Seen { pending_syncs: pending_syncs(&found), guests, ..Seen::default() };
    for member in configuration.members() {
        if let Some(server) = found.of(member.id) {
            seen.members.insert(member.id, server.standing());
        }
    }
    let hosts = &client.settings().identity.servers;
    let speaks_tls = client.settings().identity.tls.is_some();
    let addresses: Vec<_> =
        to_ask.iter().filter_map(|member| Some((member.id, address_of(member, hosts, speaks_tls)?))).collect();
    let questions: Vec<_> = addresses.iter().map(|(_, address)| (address.clone(), QUESTIONS)).collect();
    let asking = asking(client, &half, terms.admin_port, None).await?;
    let answers = match budget.race(Deadline::NEVER, asking.all(&questions)).await {
        Ok(answers) => answers,
        Err(Cut::Cancelled) => return Err(client.cancelled(budget, CONFIG, crate::session::UNCHANGED)),
        Err(Cut::TimedOut) => return Err(client.unreachable(budget.elapsed())),
    };
    for ((id, _), heard) in addresses.iter().zip(answers) {
        let [srvr, mntr, conf] = &heard[..] else { continue };
        let own = conf.fields.as_ref().ok().and_then(|fields| field(fields, "serverId")?.parse::<i64>().ok());
        let standing = match own {
            Some(own) if own != *id => Standing::Silent(format!("says that it is server.{own}")),
            _ => standing(&srvr.fields, &mntr.fields),
        };
        seen.joining.insert(*id, standing);
    }
    seen.configuration = configuration;
    Ok((found, seen))
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
    let attempt = |session: Session| {
        let unacknowledged = unacknowledged.clone();
        async move {
            if unacknowledged.is_any() {
                if let Some(done) = resolved(&session, plan).await? {
                    return Ok(done);
                }
            }
            let changing = session.writes(&unacknowledged).reconfigure(plan.update(), plan.from);
            match changing.await {
                Ok(data) => parsed(&data).map_err(Failure::Final),
                // Whoever was faster may have made the same change.
                Err(zk::Error::BadVersion) => match resolved(&session, plan).await? {
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
async fn resolved(session: &Session, plan: &Plan) -> Attempt<Option<Configuration>> {
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
