//! What all servers of an ensemble say of themselves, and which member each of them is.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join;
use tokio::time::{timeout, timeout_at};

use crate::client::Client;
use crate::connect::findings::grouped;
use crate::connect::hosts::host;
use crate::connect::resolver::resolve;
use crate::connect::stream::material;
use crate::ensemble::ask::{Asking, Heard};
use crate::ensemble::configuration::{Configuration, Member};
use crate::ensemble::decision::{to_ask, Mode, Standing, Step};
use crate::ensemble::words::{field, standing, zxid, Fields, Trouble};
use crate::error::{Error, Refusal, Result};
use crate::session::Session;
use crate::wait::deadline::Deadline;
use crate::wait::{Budget, Cut};

/// Where the servers keep their configuration.
pub(crate) const CONFIG: &str = "/zookeeper/config";
/// What a server is asked: what it is, which member it is, and how it is.
pub(crate) const QUESTIONS: &[&str] = &["srvr", "conf", "mntr"];
/// The part of a call's time after which a silent server is waited for no more, so that what the others say gets to the
/// caller.
const ASKING: f64 = 0.9;
/// The part of what is left after which the other servers are waited for no more, where the configuration came late.
const LATE: f64 = 0.4;
/// How long the configuration is waited for once all others have answered, if these have told it as well; and the servers
/// that were named, before the other members are asked as well.
const SOON: Duration = Duration::from_millis(200);
/// How long names may take to be resolved, to recognise a server by its address.
const RESOLVING: Duration = Duration::from_secs(1);

/// One server, and what it has answered.
#[derive(Clone, Debug)]
pub(crate) struct Surveyed {
    /// Where it was asked; empty where nothing tells where clients find it.
    pub(crate) address: String,
    pub(crate) member: Option<Member>,
    /// In the order of [`QUESTIONS`]; none where nobody could be asked.
    pub(crate) answers: Vec<Heard>,
    /// What it is, where the answers of all tell better than its own.
    judged: Option<Standing>,
}

impl Surveyed {
    fn new(address: &str, member: Option<&Member>, answers: Vec<Heard>) -> Self {
        Self { address: address.to_owned(), member: member.cloned(), answers, judged: None }
    }

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

    /// The configuration that it has.
    fn own_configuration(&self) -> Option<Configuration> {
        Configuration::parse(field(self.fields("conf")?, "membership")?).ok()
    }

    /// The last transaction that it knows.
    pub(crate) fn zxid(&self) -> Option<u64> {
        zxid(field(self.fields("srvr")?, "Zxid")?)
    }

    /// Why it is not the server with this id of the ensemble, where its answers tell that.
    fn is_another(&self, id: i64, configuration: &Configuration) -> Option<String> {
        let own = self.own_id()?;
        if own != id {
            return Some(format!("says that it is server.{own}"));
        }
        // Of its own line the address may be another one: 0.0.0.0, where it listens. Another ensemble has no line of ours.
        let known = self.own_configuration().filter(|known| known.members().next().is_some())?;
        let is_ours = |it: &Member| configuration.member(it.id).is_some_and(|member| member.has_addresses_of(it));
        let has_ours = known.members().any(is_ours);
        (!has_ours).then(|| format!("is server.{own} of another ensemble"))
    }

    pub(crate) fn standing(&self) -> Standing {
        let unasked = Ok(Fields::new());
        match (&self.judged, self.heard("srvr")) {
            (Some(judged), _) => judged.clone(),
            (None, Some(srvr)) => standing(&srvr.fields, self.heard("mntr").map_or(&unasked, |mntr| &mntr.fields)),
            (None, None) => {
                Standing::Silent("cannot be asked: the configuration has no address for clients of it".to_owned())
            }
        }
    }

    fn leads(&self) -> bool {
        self.standing() == Standing::Synced(Mode::Leader)
    }
}

/// An ensemble as its servers describe it.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// Who is in it, or why that could not be read.
    pub(crate) configuration: Result<Configuration>,
    /// Those that the caller has named, in that order, and then members that the caller has not named.
    pub(crate) servers: Vec<Surveyed>,
    /// Those that are to join.
    pub(crate) joining: Vec<Surveyed>,
}

impl Survey {
    /// What a member says of itself.
    pub(crate) fn of(&self, id: i64) -> Option<&Surveyed> {
        self.servers.iter().find(|server| server.member.as_ref().is_some_and(|member| member.id == id))
    }

    /// The member that leads.
    pub(crate) fn leader(&self) -> Option<&Surveyed> {
        self.servers.iter().find(|server| server.member.is_some() && server.leads())
    }
}

/// What is asked of whom, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The port of the AdminServers; zero for none.
    pub(crate) admin_port: u16,
    /// How long those who are silent are waited for once half of all have answered; `None`: until the time is up.
    pub(crate) straggling: Option<Duration>,
    /// The first of [`QUESTIONS`], as many as are of use.
    pub(crate) words: &'static [&'static str],
    /// How long silent servers may take, if that is less than what is left of the call's time. Where `straggling` says that
    /// the answer is a picture of now, the configuration may take no longer either.
    pub(crate) most: Option<Duration>,
    /// A step whose joining servers are asked as well.
    pub(crate) step: Option<&'a Step>,
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
    let unusable = |why: String| Error::ensemble(Refusal::NoAnswer, format!("{CONFIG} cannot be understood: {why}"));
    let found = Configuration::parse(&String::from_utf8_lossy(data)).map_err(|error| unusable(error.to_string()))?;
    // The servers take a negative version for any.
    match i64::try_from(found.version) {
        Ok(_) => Ok(found),
        Err(_) => Err(unusable(format!("version {:x} is none", found.version))),
    }
}

/// Asks all servers that the caller has named, all members, and those that are to join.
///
/// # Errors
/// [`Error::Argument`] of certificates, [`Error::Cancelled`], [`Error::Unreachable`] where the time is up before anybody
/// could answer.
pub(crate) async fn survey(client: &Client, budget: &Budget, scope: Scope<'_>) -> Result<Survey> {
    let mut asking = asking(client, budget, scope.admin_port, scope.straggling).await?;
    let mut latest = asking.end;
    if let Some(most) = scope.most {
        asking.end = asking.end.min(Instant::now() + most);
    }
    if scope.straggling.is_some() {
        latest = asking.end;
    }
    match budget.race(Deadline::NEVER, surveyed(client, budget, scope, asking, latest)).await {
        Ok(survey) => Ok(survey),
        Err(Cut::Cancelled) => Err(client.cancelled(budget, CONFIG, crate::session::UNCHANGED)),
        Err(Cut::TimedOut) => Err(client.unreachable(budget.elapsed())),
    }
}

/// `latest`: until when the configuration is waited for. A session whose first server is silent needs a while to go to
/// another one.
async fn surveyed(client: &Client, budget: &Budget, scope: Scope<'_>, mut asking: Asking, latest: Instant) -> Survey {
    let hosts = &client.settings().identity.servers;
    let questions: Vec<_> = hosts.iter().map(|host| (host.clone(), scope.words)).collect();
    let asking_named = asking.clone();
    let named = async {
        let answers = asking_named.all(&questions).await;
        hosts.iter().zip(answers).map(|(host, answers)| Surveyed::new(host, None, answers)).collect::<Vec<_>>()
    };
    let reading = async {
        let reading = timeout_at(latest.into(), configuration(client, budget));
        reading.await.unwrap_or_else(|_| Err(not_shown()))
    };
    tokio::pin!(named, reading);
    let (servers, configuration) = tokio::select! {
        configuration = &mut reading => (timeout(SOON, &mut named).await.ok(), configuration),
        servers = &mut named => {
            let configuration = read_after(&servers, reading, scope.straggling).await;
            (Some(servers), configuration)
        }
    };
    let known = match configuration {
        Ok(known) => known,
        Err(error) => {
            let servers = match servers {
                Some(servers) => servers,
                None => named.await,
            };
            return Survey { configuration: Err(error), servers, joining: Vec::new() };
        }
    };
    let rest = latest.saturating_duration_since(Instant::now());
    asking.end = asking.end.max(Instant::now() + rest.mul_f64(LATE));
    let speaks_tls = client.settings().identity.tls.is_some();
    let joining = scope.step.map_or_else(Vec::new, |step| to_ask(&known, step));
    let others = |members: Vec<Member>| {
        let found = members.into_iter().map(|member| (address_of(&member, hosts, speaks_tls), member));
        ask_others(&asking, scope.words, found.collect())
    };
    // Whoever is silent among those that were named is no reason to ask nobody else.
    let (mut servers, mut asked, missing) = match servers {
        Some(mut servers) => {
            let missing = assign(&known, &mut servers, speaks_tls).await;
            let asked = others(missing.iter().chain(&joining).cloned().collect()).await;
            (servers, asked, missing)
        }
        None => {
            let is_named =
                |member: &Member| address_of(member, hosts, speaks_tls).is_some_and(|it| hosts.contains(&it));
            let unnamed = known.members().filter(|member| !is_named(member));
            let (mut servers, asked) = join(named, others(unnamed.chain(&joining).cloned().collect())).await;
            let missing = assign(&known, &mut servers, speaks_tls).await;
            (servers, asked, missing)
        }
    };
    let mut joining = asked.split_off(asked.len() - joining.len());
    for member in missing {
        let own = asked.iter().find(|server| server.member.as_ref().is_some_and(|it| it.id == member.id)).cloned();
        let own = own.unwrap_or_else(|| {
            // Who is at its address is another one.
            let address = address_of(&member, hosts, speaks_tls);
            let there = servers.iter().find(|server| Some(&server.address) == address.as_ref());
            let answers = there.map_or_else(Vec::new, |server| server.answers.clone());
            Surveyed::new(address.as_deref().unwrap_or_default(), Some(&member), answers)
        });
        servers.push(own);
    }
    judge(&known, &mut servers, &mut joining);
    Survey { configuration: Ok(known), servers, joining }
}

/// Asks servers that nobody has named, each where clients find it.
async fn ask_others(
    asking: &Asking,
    words: &'static [&'static str],
    members: Vec<(Option<String>, Member)>,
) -> Vec<Surveyed> {
    let questions: Vec<_> = members.iter().filter_map(|(address, _)| Some((address.clone()?, words))).collect();
    let mut answers = asking.all(&questions).await.into_iter();
    let found = members.into_iter().map(|(address, member)| {
        let answers = if address.is_some() { answers.next().unwrap_or_default() } else { Vec::new() };
        Surveyed::new(address.as_deref().unwrap_or_default(), Some(&member), answers)
    });
    found.collect()
}

/// The configuration, after all servers that were named have answered or are waited for no more.
async fn read_after(
    servers: &[Surveyed],
    mut reading: impl Future<Output = Result<Configuration>> + Unpin,
    straggling: Option<Duration>,
) -> Result<Configuration> {
    // A session is to be had only where a server serves. One whose words are refused may.
    let is_in_vain = |server: &Surveyed| match server.standing() {
        Standing::Syncing => true,
        Standing::Silent(_) => {
            let srvr = server.heard("srvr").and_then(|heard| heard.fields.as_ref().err());
            matches!(srvr, Some(Trouble::Unreachable(_) | Trouble::Slow(_) | Trouble::Garbage(_)))
        }
        Standing::Synced(_) | Standing::Alone | Standing::ReadOnly => false,
    };
    if servers.iter().all(is_in_vain) {
        return Err(none_serves(servers));
    }
    let Some(grace) = straggling else { return reading.await };
    // The session may be with a server that has just stopped, which it learns only after seconds.
    match (timeout(SOON, &mut reading).await, as_answered(servers)) {
        (Err(_), None) => timeout(grace, reading).await.unwrap_or_else(|_| Err(not_shown())),
        (Ok(Ok(found)), _) => Ok(found),
        (Ok(Err(Error::Unreachable { .. } | Error::ConnectionLost { .. })) | Err(_), Some(found)) => Ok(found),
        (Ok(Err(error)), _) => Err(error),
    }
}

fn not_shown() -> Error {
    Error::ensemble(Refusal::NoAnswer, "no server has shown the configuration in time")
}

/// The configuration as the leader has it, or another server that is in sync, by its answer to `conf`.
fn as_answered(servers: &[Surveyed]) -> Option<Configuration> {
    let synced = servers.iter().filter(|server| server.standing().is_synced());
    let (leaders, others): (Vec<_>, Vec<_>) = synced.partition(|server| server.leads());
    leaders.into_iter().chain(others).find_map(Surveyed::own_configuration)
}

fn none_serves(servers: &[Surveyed]) -> Error {
    let found = servers.iter().map(|server| (server.address.clone(), server.standing().why_not().unwrap_or_default()));
    let is_electing = servers.iter().any(|server| server.standing() == Standing::Syncing);
    let refusal = if is_electing { Refusal::NoLeader } else { Refusal::NoServer };
    Error::ensemble(refusal, format!("none of the servers that were named serves: {}", grouped(found)))
}

/// Finds out which member each server is: by the id that it tells, or else by its address. Returns those members that are
/// none of them. Of several that tell the same id the one at the member's address is kept, or else the first.
async fn assign(configuration: &Configuration, servers: &mut Vec<Surveyed>, speaks_tls: bool) -> Vec<Member> {
    let hosts: Vec<_> = servers.iter().map(|server| server.address.clone()).collect();
    let own = |server: &Surveyed| {
        let member = configuration.member(server.own_id()?)?;
        server.is_another(member.id, configuration).is_none().then(|| member.clone())
    };
    for server in servers.iter_mut() {
        server.member = own(server);
    }
    for member in configuration.members() {
        let address = address_of(member, &hosts, speaks_tls);
        let is_it = |server: &Surveyed| server.member.as_ref().is_some_and(|it| it.id == member.id);
        let at_address = servers.iter().position(|it| is_it(it) && Some(&it.address) == address.as_ref());
        if let Some(kept) = at_address.or_else(|| servers.iter().position(is_it)) {
            let mut position = 0..;
            servers.retain(|server| position.next() == Some(kept) || !is_it(server));
        } else if let Some(server) = servers.iter_mut().find(|server| {
            server.member.is_none() && server.own_id().is_none() && Some(&server.address) == address.as_ref()
        }) {
            server.member = Some(member.clone());
        }
    }
    let is_there = |servers: &[Surveyed], member: &Member| {
        servers.iter().any(|server| server.member.as_ref().is_some_and(|it| it.id == member.id))
    };
    let missing: Vec<_> = configuration.members().filter(|member| !is_there(servers, member)).cloned().collect();
    // Whoever tells no id may have been named by another name than the configuration's.
    let is_unknown =
        |server: &Surveyed| server.member.is_none() && server.own_id().is_none() && server.fields("srvr").is_some();
    if !missing.is_empty() && servers.iter().any(is_unknown) {
        for member in &missing {
            let Some(address) = address_of(member, &hosts, speaks_tls) else { continue };
            let there = resolved(&address).await;
            for server in servers.iter_mut().filter(|server| is_unknown(server)) {
                if resolved(&server.address).await.iter().any(|address| there.contains(address)) {
                    server.member = Some(member.clone());
                    break;
                }
            }
        }
    }
    missing.into_iter().filter(|member| !is_there(servers, member)).collect()
}

async fn resolved(address: &str) -> Vec<SocketAddr> {
    let Some((_, port)) = address.rsplit_once(':') else { return Vec::new() };
    let Ok(port) = port.parse() else { return Vec::new() };
    match timeout(RESOLVING, resolve(host(address), port)).await {
        Ok(Ok(found)) => found,
        _ => Vec::new(),
    }
}

/// Judges what servers say by what the others say: whoever answers at a member's address may be another one, and of several
/// that say that they lead those have led that know of no leader after them.
fn judge(configuration: &Configuration, servers: &mut [Surveyed], joining: &mut [Surveyed]) {
    for server in servers.iter_mut().chain(joining) {
        let another = server.member.as_ref().and_then(|member| server.is_another(member.id, configuration));
        server.judged = another.map(Standing::Silent);
    }
    let epoch = |server: &Surveyed| server.zxid().map(|zxid| zxid >> 32);
    let leads = |server: &&mut Surveyed| server.member.is_some() && server.leads();
    let newest = servers.iter_mut().filter(leads).filter_map(|server| epoch(server)).max();
    for server in servers.iter_mut().filter(leads).filter(|server| epoch(server) < newest) {
        server.judged = Some(Standing::Syncing);
    }
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
