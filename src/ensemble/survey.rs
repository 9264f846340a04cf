//! What all servers of an ensemble say of themselves, and which member each of them is.

use std::time::{Duration, Instant};

use futures::future::join;
use tokio::time::timeout;

use crate::client::Client;
use crate::connect::findings::grouped;
use crate::connect::hosts::host;
use crate::connect::stream::material;
use crate::ensemble::ask::{Asking, Heard};
use crate::ensemble::configuration::{Configuration, Member};
use crate::ensemble::decision::{Mode, Standing};
use crate::ensemble::words::{field, standing, Fields};
use crate::error::{Error, Refusal, Result};
use crate::session::Session;
use crate::wait::deadline::Deadline;
use crate::wait::{Budget, Cut};

/// Where the servers keep their configuration.
pub(crate) const CONFIG: &str = "/zookeeper/config";
/// What every server is asked.
pub(crate) const QUESTIONS: &[&str] = &["srvr", "mntr", "conf"];
/// The part of a call's time after which a silent server is waited for no more, so that what the others say gets to the
/// caller.
const ASKING: f64 = 0.9;
/// How long the configuration is waited for once all others have answered, if these have told it as well.
const SOON: Duration = Duration::from_millis(200);

/// One server, and what it has answered.
#[derive(Clone, Debug)]
pub(crate) struct Surveyed {
    /// Where it was asked; empty where nothing tells where clients find it.
    pub(crate) address: String,
    pub(crate) member: Option<Member>,
    /// In the order of [`QUESTIONS`]; none where nobody could be asked.
    pub(crate) answers: Vec<Heard>,
}

impl Surveyed {
    /// The fields of the answer to one of [`QUESTIONS`].
    pub(crate) fn fields(&self, word: &str) -> Option<&Fields> {
        self.heard(word).and_then(|heard| heard.fields.as_ref().ok())
    }

    pub(crate) fn heard(&self, word: &str) -> Option<&Heard> {
        self.answers.get(QUESTIONS.iter().position(|known| *known == word)?)
    }

    /// The id that it says it has.
    fn own_id(&self) -> Option<i64> {
        field(self.fields("conf")?, "serverId")?.parse().ok()
    }

    pub(crate) fn standing(&self) -> Standing {
        match (self.heard("srvr"), self.heard("mntr")) {
            (Some(srvr), Some(mntr)) => standing(&srvr.fields, &mntr.fields),
            _ => Standing::Silent("cannot be asked: the configuration has no address for clients of it".to_owned()),
        }
    }
}

/// An ensemble as its servers describe it.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// Who is in it, or why that could not be read.
    pub(crate) configuration: Result<Configuration>,
    /// Those that the caller has named, in that order, and then members that the caller has not named.
    pub(crate) servers: Vec<Surveyed>,
}

impl Survey {
    /// What a member says of itself.
    pub(crate) fn of(&self, id: i64) -> Option<&Surveyed> {
        self.servers.iter().find(|server| server.member.as_ref().is_some_and(|member| member.id == id))
    }
}

/// How to ask within what is left of a call's time.
pub(crate) async fn asking(
    client: &Client,
    budget: &Budget,
    admin_port: u16,
    straggling: Option<Duration>,
) -> Result<Asking> {
    let material = material(&client.settings().identity).await?;
    let rest = budget.reach().saturating_sub(budget.elapsed());
    Ok(Asking { material, admin_port, end: Instant::now() + rest.mul_f64(ASKING), straggling })
}

/// The configuration, as new as the leader's state when this was asked.
///
/// # Errors
/// Those of any read; [`Refusal::NoAnswer`] where it cannot be understood.
pub(crate) async fn configuration(client: &Client, budget: &Budget) -> Result<Configuration> {
    let data = client
        .answer(budget, CONFIG, |session: Session| async move {
            let (synced, read) = join(session.sync(CONFIG), session.get_data(CONFIG)).await;
            let refused = |error| session.failure(&error, "read", CONFIG);
            synced.map_err(refused)?;
            Ok(read.map_err(refused)?.0)
        })
        .await?;
    parsed(&data)
}

pub(crate) fn parsed(data: &[u8]) -> Result<Configuration> {
    Configuration::parse(&String::from_utf8_lossy(data))
        .map_err(|error| Error::ensemble(Refusal::NoAnswer, format!("{CONFIG} cannot be understood: {error}")))
}

/// Asks all servers that the caller has named, and all members.
///
/// # Errors
/// [`Error::Argument`] of certificates; [`Error::Cancelled`].
pub(crate) async fn survey(
    client: &Client,
    budget: &Budget,
    admin_port: u16,
    straggling: Option<Duration>,
) -> Result<Survey> {
    let asking = asking(client, budget, admin_port, straggling).await?;
    let hosts = &client.settings().identity.servers;
    let questions = |addresses: &[String]| addresses.iter().map(|it| (it.clone(), QUESTIONS)).collect::<Vec<_>>();
    let named = async {
        let answers = asking.all(&questions(hosts)).await;
        let named = hosts.iter().zip(answers);
        named.map(|(address, answers)| Surveyed { address: address.clone(), member: None, answers }).collect::<Vec<_>>()
    };
    let work = async {
        let reading = configuration(client, budget);
        tokio::pin!(reading, named);
        let (mut servers, configuration) = tokio::select! {
            configuration = &mut reading => (named.await, configuration),
            servers = &mut named => {
                // A session is to be had only where a server serves.
                let serves = servers.iter().any(|server: &Surveyed| {
                    matches!(server.standing(), Standing::Synced(_) | Standing::Alone)
                });
                let configuration = match straggling {
                    _ if !serves => Err(none_serves(&servers)),
                    None => reading.await,
                    // The session may be with a server that has just stopped, which it learns only after seconds.
                    Some(grace) => match (timeout(SOON, &mut reading).await, as_answered(&servers)) {
                        (Ok(configuration), _) => configuration,
                        (Err(_), Some(configuration)) => Ok(configuration),
                        (Err(_), None) => timeout(grace, reading).await.unwrap_or_else(|_| {
                            let reason = "no server has shown the configuration in time";
                            Err(Error::ensemble(Refusal::NoAnswer, reason))
                        }),
                    },
                };
                (servers, configuration)
            }
        };
        if let Ok(configuration) = &configuration {
            let missing = assign(configuration, &mut servers, client.settings().identity.tls.is_some());
            let addresses: Vec<_> = missing.iter().filter_map(|(_, address)| address.clone()).collect();
            let mut answers = asking.all(&questions(&addresses)).await.into_iter();
            servers.extend(missing.into_iter().map(|(member, address)| Surveyed {
                answers: if address.is_some() { answers.next().unwrap_or_default() } else { Vec::new() },
                address: address.unwrap_or_default(),
                member: Some(member),
            }));
        }
        Survey { configuration, servers }
    };
    match budget.race(Deadline::NEVER, work).await {
        Ok(survey) => Ok(survey),
        Err(Cut::Cancelled) => Err(client.cancelled(budget, CONFIG, crate::session::UNCHANGED)),
        Err(Cut::TimedOut) => Err(client.unreachable(budget.elapsed())),
    }
}

/// The configuration as the leader has it, or another server that is in sync, by its answer to `conf`.
fn as_answered(servers: &[Surveyed]) -> Option<Configuration> {
    let membership = |server: &&Surveyed| field(server.fields("conf")?, "membership").map(str::to_owned);
    let synced = servers.iter().filter(|server| server.standing().is_synced());
    let (leaders, others): (Vec<_>, Vec<_>) =
        synced.partition(|server| server.standing() == Standing::Synced(Mode::Leader));
    let text = leaders.iter().chain(&others).find_map(membership)?;
    Configuration::parse(&text).ok()
}

fn none_serves(servers: &[Surveyed]) -> Error {
    let found = servers.iter().map(|server| (server.address.clone(), server.standing().why_not().unwrap_or_default()));
    Error::ensemble(Refusal::NoServer, format!("none of the servers that were named serves: {}", grouped(found)))
}

/// Finds out which member each server is: by the id that it tells, or else by its address. Returns those members that are
/// none of them, and where they are to be asked.
fn assign(configuration: &Configuration, servers: &mut [Surveyed], speaks_tls: bool) -> Vec<(Member, Option<String>)> {
    for server in servers.iter_mut() {
        server.member = server.own_id().and_then(|id| configuration.member(id)).cloned();
    }
    let mut missing = Vec::new();
    for member in configuration.members() {
        let is_found = servers.iter().any(|server| server.member.as_ref().is_some_and(|it| it.id == member.id));
        if is_found {
            continue;
        }
        let hosts: Vec<_> = servers.iter().map(|server| server.address.clone()).collect();
        let address = address_of(member, &hosts, speaks_tls);
        let own = servers.iter_mut().find(|server| {
            server.member.is_none() && server.own_id().is_none() && Some(&server.address) == address.as_ref()
        });
        match own {
            Some(server) => server.member = Some(member.clone()),
            // Who is there is another one.
            None if address.as_ref().is_some_and(|it| hosts.contains(it)) => missing.push((member.clone(), None)),
            None => missing.push((member.clone(), address)),
        }
    }
    missing
}

/// Where clients find a member, as `host:port`: by the configuration, or as the servers are named that the caller knows.
/// The configuration has no ports for TLS.
pub(crate) fn address_of(member: &Member, hosts: &[String], speaks_tls: bool) -> Option<String> {
    if let Some(address) = member.client_server().filter(|_| !speaks_tls) {
        return Some(address);
    }
    let own = member.client_host().trim_matches(['[', ']']).to_ascii_lowercase();
    let known = hosts.iter().find(|server| host(server).to_ascii_lowercase() == own);
    if let Some(known) = known {
        return Some(known.clone());
    }
    let port = hosts.first()?.rsplit_once(':')?.1;
    Some(format!("{}:{port}", member.client_host()))
}
