//! The four-letter words, and what their answers say: as text, or as the AdminServer's JSON. Pure.
//!
//! Either way an answer becomes the same fields, by the names that the text has. A server answers `srvr` unless it is told
//! otherwise, and the other words only if it is told so (`4lw.commands.whitelist`); its AdminServer answers all of them.

use std::fmt;

use serde_json::{Map, Value};

use crate::ensemble::decision::{Mode, Standing};

/// The words that can be asked.
pub const WORDS: [&str; 8] = ["srvr", "mntr", "ruok", "conf", "cons", "stat", "envi", "isro"];

const NOT_SERVING: &str = "not currently serving requests";
const NOT_LISTED: &str = "is not in the whitelist";
/// The first byte of a TLS alert, by which a port for TLS answers plain text.
const ALERT: u8 = 21;

/// What an answer says, by name, in its order.
pub type Fields = Vec<(String, String)>;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server does not answer this word, and its AdminServer does not either, for this reason.
    Refused(String),
    /// The server runs, and does not serve: it has no leader, or catches up.
    NotServing,
    /// No connection could be made, or it did not last.
    Unreachable(String),
    /// The answer was not complete in time.
    Slow(String),
    /// The answer is none to this word.
    Garbage(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServing => f.write_str("runs, and does not serve: it has no leader, or catches up"),
            Self::Refused(why) | Self::Unreachable(why) | Self::Slow(why) | Self::Garbage(why) => f.write_str(why),
        }
    }
}

/// What a four-letter word was answered. `None`: that the server does not answer this one.
///
/// # Errors
/// [`Trouble::NotServing`], [`Trouble::Garbage`].
pub fn from_text(word: &str, answer: &[u8]) -> Result<Option<Fields>, Trouble> {
    if answer.first() == Some(&ALERT) {
        return Err(Trouble::Garbage("speaks TLS, not plain text: set use_ssl, or name another port".to_owned()));
    }
    let text = String::from_utf8_lossy(answer);
    if text.contains(NOT_LISTED) && text.len() < 200 {
        return Ok(None);
    }
    if text.contains(NOT_SERVING) && text.len() < 200 {
        return Err(Trouble::NotServing);
    }
    let fields = match word {
        "srvr" => text.starts_with("Zookeeper version").then(|| split(&text, ": ")).filter(is_whole),
        "stat" => text.starts_with("Zookeeper version").then(|| stat(&text)).filter(is_whole),
        "mntr" => text.starts_with("zk_").then(|| split(&text, "\t")),
        "envi" => text.strip_prefix("Environment:").map(|rest| split(rest, "=")),
        "conf" => text.contains("ientPort=").then(|| conf(&text)),
        "cons" => text.lines().all(|line| line.is_empty() || line.starts_with(" /")).then(|| one("connections", &text)),
        "ruok" | "isro" => {
            let known: &[&str] = if word == "ruok" { &["imok"] } else { &["rw", "ro", "null"] };
            known.contains(&text.trim()).then(|| one(word, &text))
        }
        _ => None,
    };
    match fields {
        Some(fields) => Ok(Some(fields)),
        None if text.is_empty() => Err(Trouble::Garbage(format!("closed the connection on {word} without an answer"))),
        None => Err(Trouble::Garbage(format!("answers {word} with what is no answer to it: {}", excerpt(&text)))),
    }
}

/// What the AdminServer answers to the same question.
///
/// # Errors
/// [`Trouble::NotServing`], [`Trouble::Garbage`].
pub fn from_json(word: &str, answer: &[u8]) -> Result<Fields, Trouble> {
    let garbage = || {
        let shown = excerpt(&String::from_utf8_lossy(answer));
        Trouble::Garbage(format!("the AdminServer answers {word} with what is no answer to it: {shown}"))
    };
    let Ok(Value::Object(found)) = serde_json::from_slice::<Value>(answer) else { return Err(garbage()) };
    match found.get("error") {
        Some(Value::String(error)) if error.contains(NOT_SERVING) => return Err(Trouble::NotServing),
        Some(Value::String(error)) => {
            return Err(Trouble::Garbage(format!("the AdminServer refuses {word}: {}", excerpt(error))))
        }
        _ if !found.contains_key("command") => return Err(garbage()),
        _ => {}
    }
    let own = found.iter().filter(|(name, _)| !["command", "error"].contains(&name.as_str()));
    let named = |rename: fn(&str) -> String| {
        own.clone().filter_map(|(name, value)| Some((rename(name), plain(value)?))).collect::<Fields>()
    };
    Ok(match word {
        "mntr" => named(|name| format!("zk_{name}")),
        "conf" => named(camel),
        "envi" => named(str::to_owned),
        "ruok" => one(word, "imok"),
        "isro" => {
            let is_read_only = found.get("read_only").and_then(Value::as_bool).ok_or_else(garbage)?;
            one(word, if is_read_only { "ro" } else { "rw" })
        }
        "cons" => one("connections", &connections(&found)),
        "srvr" => server(&found).ok_or_else(garbage)?,
        "stat" => {
            let mut fields = server(&found).ok_or_else(garbage)?;
            fields.insert(1, ("Clients".to_owned(), connections(&found)));
            fields
        }
        _ => return Err(garbage()),
    })
}

/// The value of a field.
#[must_use]
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

/// What a server says of itself, by its answers to `srvr` and `mntr`.
#[must_use]
pub fn standing(srvr: &Result<Fields, Trouble>, mntr: &Result<Fields, Trouble>) -> Standing {
    if [srvr, mntr].iter().any(|answer| matches!(answer, Err(Trouble::NotServing))) {
        return Standing::Syncing;
    }
    let peer_state = mntr.as_ref().ok().and_then(|fields| field(fields, "zk_peer_state"));
    if peer_state.is_some_and(|state| !state.contains("broadcast")) {
        return Standing::Syncing;
    }
    let by_srvr = srvr.as_ref().ok().and_then(|fields| field(fields, "Mode"));
    let by_mntr = mntr.as_ref().ok().and_then(|fields| field(fields, "zk_server_state"));
    match (by_srvr.or(by_mntr), srvr) {
        (Some("leader"), _) => Standing::Synced(Mode::Leader),
        (Some("follower"), _) => Standing::Synced(Mode::Follower),
        (Some("observer"), _) => Standing::Synced(Mode::Observer),
        (Some("standalone"), _) => Standing::Alone,
        (Some("read-only"), _) => Standing::ReadOnly,
        (Some(_), _) => Standing::Silent("is in a state that is not known here".to_owned()),
        (None, Err(trouble)) => Standing::Silent(trouble.to_string()),
        (None, Ok(_)) => Standing::Silent("does not say what it is".to_owned()),
    }
}

/// How many transactions a server is behind its leader, at least. The upper half of a zxid is the epoch of a leader: a
/// server that has seen nothing of this epoch is behind by all of it.
#[must_use]
pub fn behind(leader: u64, zxid: u64) -> u64 {
    const COUNTER: u64 = 0xffff_ffff;
    if zxid >= leader {
        0
    } else if zxid >> 32 == leader >> 32 {
        leader - zxid
    } else {
        leader & COUNTER
    }
}

/// A zxid as the servers write it: `0x100000003`.
#[must_use]
pub fn zxid(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// The version of ZooKeeper alone: of `3.8.0-5a02a05, built on ...` that is `3.8.0`.
#[must_use]
pub fn version(text: &str) -> String {
    text.split(['-', ',', ' ']).next().unwrap_or_default().to_owned()
}

/// Whether an answer says of which version the server is, and what it is.
fn is_whole(fields: &Fields) -> bool {
    ["Zookeeper version", "Mode"].iter().all(|name| field(fields, name).is_some())
}

fn one(name: &str, value: &str) -> Fields {
    vec![(name.to_owned(), value.trim_end_matches('\n').to_owned())]
}

/// The lines that have a separator, at the first of them.
fn split(text: &str, separator: &str) -> Fields {
    let pairs = text.lines().filter_map(|line| line.split_once(separator));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.to_owned())).collect()
}

fn stat(text: &str) -> Fields {
    let (clients, rest): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with(" /"));
    let mut fields = split(&rest.join("\n"), ": ");
    fields.insert(1.min(fields.len()), ("Clients".to_owned(), clients.join("\n")));
    fields
}

/// The settings, and below `membership` the lines of the configuration that the server has.
fn conf(text: &str) -> Fields {
    let (settings, membership) = text.split_once("membership:").unwrap_or((text, ""));
    let mut fields = split(settings, "=");
    let lines = membership.trim();
    if !lines.is_empty() {
        fields.push(("membership".to_owned(), lines.to_owned()));
    }
    fields
}

fn server(found: &Map<String, Value>) -> Option<Fields> {
    let stats = found.get("server_stats")?.as_object()?;
    let number = |name: &str| stats.get(name).and_then(plain);
    let mode = match found.get("read_only").and_then(Value::as_bool) {
        Some(true) => "read-only".to_owned(),
        _ => number("server_state")?,
    };
    let latency = ["min_latency", "avg_latency", "max_latency"].map(|name| number(name).unwrap_or_default());
    let zxid = stats.get("last_processed_zxid").and_then(Value::as_u64)?;
    let fields = [
        ("Zookeeper version", found.get("version").and_then(plain)),
        ("Latency min/avg/max", Some(latency.join("/"))),
        ("Received", number("packets_received")),
        ("Sent", number("packets_sent")),
        ("Connections", number("num_alive_client_connections")),
        ("Outstanding", number("outstanding_requests")),
        ("Zxid", Some(format!("0x{zxid:x}"))),
        ("Mode", Some(mode)),
        ("Node count", found.get("node_count").and_then(plain)),
    ];
    Some(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn connections(found: &Map<String, Value>) -> String {
    let lists = ["connections", "secure_connections"].into_iter().filter_map(|name| found.get(name)?.as_array());
    lists.flatten().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A value that is no list and no object, as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `client_port` as the text has it: `clientPort`.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        let mut letters = part.chars();
        let upper = letters.next().map(|letter| letter.to_ascii_uppercase());
        all + &upper.into_iter().chain(letters).collect::<String>()
    })
}

/// The beginning of somebody else's text, in one line.
fn excerpt(text: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    format!("{shown:?}")
}
