//! One row a server: who it is, and whether it is in step. And a word to all servers at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;

use crate::client::Client;
use crate::connect::findings::grouped;
use crate::ensemble::ask::{Heard, STRAGGLING};
use crate::ensemble::decision::Mode;
use crate::ensemble::quorum::{critical, is_quorum};
use crate::ensemble::survey::{asking, survey, Scope, Survey, Surveyed, QUESTIONS};
use crate::ensemble::words::{self, field, Trouble, WORDS};
use crate::error::{Error, Refusal, Result};
use crate::wait::deadline::Deadline;
use crate::wait::{Budget, Cut};

/// A server, as far as it tells.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// Its id, if it is a member.
    pub id: Option<i64>,
    /// Where clients find it.
    pub address: Option<String>,
    /// Its line in the configuration, if it is a member.
    pub member: Option<String>,
    /// `participant` or `observer`, if it is a member.
    pub role: Option<&'static str>,
    /// `leader`, `follower`, `observer`, `standalone`, `read-only`; none of one that does not serve.
    pub mode: Option<String>,
    /// Whether it serves, and has what the leader had when it began to.
    pub in_sync: bool,
    /// Its version of ZooKeeper.
    pub version: Option<String>,
    /// The last transaction that it knows, as the servers write it.
    pub zxid: Option<String>,
    /// How many transactions it is behind the leader, at least.
    pub behind: Option<u64>,
    /// How many connections clients have to it.
    pub connections: Option<u64>,
    /// How long requests took, in milliseconds: the least, the mean, the most.
    pub latency: Option<String>,
    /// Since when it is up, RFC 3339, by our clock.
    pub since: Option<String>,
    /// The version of the configuration that it has, in hex.
    pub configuration: Option<String>,
    /// By which way each word was answered: `4lw`, `admin`; or why it was not.
    pub words: BTreeMap<&'static str, String>,
    /// Seconds that its clock is ahead of ours; only where that was asked for, and its AdminServer answers.
    pub clock: Option<f64>,
    /// Why it does not answer, or is not in step.
    pub trouble: Option<String>,
    /// Whether the trouble is only that it was told not to answer: it may serve all the same.
    #[serde(skip)]
    pub is_reticent: bool,
}

/// An ensemble.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// The servers: those that were named, then the other members.
    pub servers: Vec<Row>,
    /// The id of the leader.
    pub leader: Option<i64>,
    /// The version of the configuration; none where it could not be read.
    pub config_version: Option<u64>,
    /// The lines of the configuration.
    pub config: Vec<String>,
    /// Why the configuration could not be read.
    pub trouble: Option<String>,
    /// Whether the members that are in sync are a quorum.
    pub has_quorum: bool,
    /// The members without any one of which the others are no quorum.
    pub critical: Vec<i64>,
}

/// What every server says of itself. A server that does not answer is waited for a little longer than the others took.
///
/// # Errors
/// [`Error::Argument`] of certificates, [`Error::Cancelled`], [`Error::Unreachable`] where the time is too short for any
/// answer.
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The configuration is read again while the time lasts; a server whose connection is lost counts as silent.
pub async fn status(client: &Client, admin_port: u16, with_clocks: bool, budget: &Budget) -> Result<Status> {
    let scope = Scope { admin_port, straggling: Some(STRAGGLING), words: QUESTIONS, most: None, step: None };
    let survey = survey(client, budget, scope).await?;
    let mut status = summary(&survey);
    if with_clocks && admin_port != 0 {
        let mut asking = asking(client, budget, admin_port, None).await?;
        asking.end = asking.end.min(Instant::now() + STRAGGLING * 2);
        let addresses = survey.servers.iter().map(|server| server.address.as_str());
        let clocks = join_all(addresses.map(|address| async {
            let answer = asking.clock(address).await?;
            let now = SystemTime::now();
            let then = http_date(&answer)?;
            Some(match then.duration_since(now) {
                Ok(ahead) => ahead.as_secs_f64(),
                // It tells whole seconds, and is on average half a second further.
                Err(late) => -(late.duration().as_secs_f64() - 0.5),
            })
        }));
        if let Ok(clocks) = budget.race(Deadline::NEVER, clocks).await {
            status.servers.iter_mut().zip(clocks).for_each(|(row, clock)| row.clock = clock);
        }
    }
    Ok(status)
}

fn summary(survey: &Survey) -> Status {
    let mut rows: Vec<Row> = survey.servers.iter().map(row).collect();
    let found = survey.configuration.as_ref().ok();
    // One that was removed says for a moment that it leads.
    let leads = |row: &&Row| row.in_sync && row.mode.as_deref() == Some(Mode::Leader.name());
    let leader = rows.iter().find(|row| leads(row) && (row.id.is_some() || found.is_none())).cloned();
    let top = leader.as_ref().and_then(|row| words::zxid(row.zxid.as_deref()?));
    for row in &mut rows {
        let own = row.zxid.as_deref().and_then(words::zxid);
        row.behind = top.zip(own).map(|(top, own)| words::behind(top, own));
    }
    let serves = |server: &&Surveyed| server.member.as_ref().is_some_and(|it| server.standing().serves_as(it));
    let synced = survey.servers.iter().filter(serves).filter_map(|it| Some(it.member.as_ref()?.id)).collect();
    Status {
        leader: leader.and_then(|row| row.id),
        config_version: found.map(|it| it.version),
        config: found.map_or_else(Vec::new, |it| it.texts()),
        trouble: survey.configuration.as_ref().err().map(ToString::to_string),
        has_quorum: found.is_some_and(|it| is_quorum(it, &synced)),
        critical: found.map_or_else(Vec::new, |it| critical(it, &synced).into_iter().collect()),
        servers: rows,
    }
}

fn row(server: &Surveyed) -> Row {
    let srvr = server.fields("srvr");
    let mntr = server.fields("mntr");
    let of_srvr = |name| srvr.and_then(|fields| field(fields, name)).map(str::to_owned);
    let standing = server.standing();
    let uptime = mntr.and_then(|fields| field(fields, "zk_uptime")).and_then(|text| text.parse().ok());
    let since = uptime.and_then(|milliseconds| SystemTime::now().checked_sub(Duration::from_millis(milliseconds)));
    let membership = server.fields("conf").and_then(|fields| field(fields, "membership"));
    let answered = QUESTIONS.iter().filter_map(|word| {
        let heard = server.heard(word)?;
        let how = match (&heard.fields, heard.origin) {
            (Err(trouble), _) => trouble.to_string(),
            (Ok(_), origin) => origin.map_or("", |origin| origin.name()).to_owned(),
        };
        Some((*word, how))
    });
    Row {
        id: server.member.as_ref().map(|member| member.id),
        address: Some(server.address.clone()).filter(|address| !address.is_empty()),
        member: server.member.as_ref().map(ToString::to_string),
        role: server.member.as_ref().map(|member| member.role().name()),
        mode: of_srvr("Mode"),
        in_sync: standing.is_synced(),
        version: of_srvr("Zookeeper version").map(|text| words::version(&text)),
        zxid: of_srvr("Zxid"),
        behind: None,
        connections: of_srvr("Connections").and_then(|text| text.parse().ok()),
        latency: of_srvr("Latency min/avg/max"),
        since: since.map(|since| humantime::format_rfc3339_seconds(since).to_string()),
        configuration: membership
            .and_then(|lines| lines.lines().find_map(|line| line.strip_prefix("version=")))
            .map(str::to_owned),
        words: answered.collect(),
        clock: None,
        trouble: standing.why_not(),
        is_reticent: matches!(server.heard("srvr").map(|heard| &heard.fields), Some(Err(Trouble::Refused(_)))),
    }
}

/// One server's answer to a word: from where, its fields; or which error.
pub type Answered = Result<(&'static str, words::Fields)>;

/// Asks servers one word, all at once: of each server, its answer.
///
/// # Errors
/// [`Error::Argument`]: no such word, or of certificates. [`Error::Cancelled`]. Within the answers:
/// [`Refusal::WordRefused`], [`Refusal::NotServing`], [`Refusal::NoAnswer`], [`Error::Unreachable`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The server is not asked again.
pub async fn ask(
    client: &Client,
    word: &str,
    admin_port: u16,
    straggling: bool,
    budget: &Budget,
) -> Result<Vec<(String, Answered)>> {
    let Some(known) = WORDS.iter().position(|known| *known == word) else {
        return Err(Error::argument("word", format!("must be one of {}", WORDS.join(", "))));
    };
    let asking = asking(client, budget, admin_port, straggling.then_some(STRAGGLING)).await?;
    let hosts = client.settings().identity.servers.clone();
    let questions: Vec<_> = hosts.iter().map(|host| (host.clone(), &WORDS[known..=known])).collect();
    let answers = match budget.race(Deadline::NEVER, asking.all(&questions)).await {
        Ok(answers) => answers,
        Err(Cut::Cancelled) => return Err(client.cancelled(budget, word, crate::session::UNCHANGED)),
        Err(Cut::TimedOut) => return Err(client.unreachable(budget.elapsed())),
    };
    let answered = hosts.into_iter().zip(answers.into_iter().flatten());
    Ok(answered
        .map(|(host, heard)| {
            let answer = answer(&host, heard, budget);
            (host, answer)
        })
        .collect())
}

fn answer(host: &str, heard: Heard, budget: &Budget) -> Answered {
    let refused = |refusal, trouble: &Trouble| Err(Error::ensemble(refusal, format!("{host} {trouble}")));
    match heard.fields {
        Ok(fields) => Ok((heard.origin.map_or("", |origin| origin.name()), fields)),
        Err(trouble @ Trouble::Refused(_)) => refused(Refusal::WordRefused, &trouble),
        Err(trouble @ Trouble::NotServing) => refused(Refusal::NotServing, &trouble),
        Err(trouble @ Trouble::Garbage(_)) => refused(Refusal::NoAnswer, &trouble),
        Err(Trouble::Unreachable(why) | Trouble::Slow(why)) => {
            Err(Error::Unreachable { hosts: host.to_owned(), waited: budget.elapsed(), advice: why })
        }
    }
}

/// How long an election may last before it is said that nobody leads.
const ELECTION: Duration = Duration::from_secs(3);
/// The pause before the servers are asked again who leads.
const PAUSE: Duration = Duration::from_millis(100);
/// What a server says that is no part of an ensemble.
const ALONE: &str = "is a standalone";

/// The server that leads, as `host:port`. While there is an election it is waited for, three seconds at most.
///
/// # Errors
/// [`Refusal::NoLeader`] with what each server says; [`Error::Argument`] of certificates; [`Error::Cancelled`].
///
/// # Cancellation
/// Nothing was changed.
///
/// # Lost connection
/// The servers are asked again.
pub async fn leader(client: &Client, admin_port: u16, budget: &Budget) -> Result<String> {
    let limit = Deadline::after(Instant::now(), ELECTION);
    let asking = asking(client, budget, admin_port, None).await?;
    let hosts = &client.settings().identity.servers;
    // What each has said last.
    let known: Mutex<BTreeMap<&String, String>> = Mutex::default();
    let known_now = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let asking = &asking;
    // Each is asked again on its own: whoever is silent keeps nobody from saying that it leads by now.
    let known_now = &known_now;
    let asked = hosts.iter().map(|host| async move {
        loop {
            let Err(answer) = asking.leads(host).await else { return Some(host) };
            let is_alone = answer == ALONE;
            known_now().insert(host, answer);
            if is_alone {
                return None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    let mut answers: FuturesUnordered<_> = asked.collect();
    let leading = async {
        loop {
            match answers.next().await {
                Some(None) => {}
                Some(found) => return found,
                None => return None,
            }
        }
    };
    match budget.race(limit, leading).await {
        Ok(Some(leader)) => return Ok(leader.clone()),
        Ok(None) | Err(Cut::TimedOut) => {}
        Err(Cut::Cancelled) => return Err(client.cancelled(budget, "the leader", crate::session::UNCHANGED)),
    }
    let known = known_now();
    let found = hosts.iter().map(|host| {
        let answer = known.get(host).map_or("has not answered", String::as_str);
        (host.clone(), answer.to_owned())
    });
    Err(Error::ensemble(Refusal::NoLeader, format!("no server leads: {}", grouped(found))))
}

/// The time in the head of an answer of HTTP: `Thu, 26 Nov 2026 12:34:08 GMT`.
#[must_use]
pub fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<_> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}
