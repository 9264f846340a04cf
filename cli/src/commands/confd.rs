//! `confd`: what a Ganeti cluster knows of itself. No ZooKeeper is asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{json, Map, Value};
use uuid::Uuid;
use zkcoord::confd::answer::{Answer, Peer, Standing};
use zkcoord::confd::ask::{ask, Terms, RETRIES, TIMEOUT};
use zkcoord::confd::book::Manner;
use zkcoord::confd::request::NAMES;
use zkcoord::confd::secrets::leave_out;
use zkcoord::confd::{node, Client};
use zkcoord::{Error, Result};

use crate::arguments::{self, OutputOptions};
use crate::print::{self, shown, Form};
use crate::status::Status;

const MASTER: &str = "cluster_master";
const ROLE: &str = "node_role_by_name";
const CONFIG: &str = "config_query";
const CANDIDATE: &str = "candidate";
/// All of them.
const ALL: i64 = -1;
/// The key of a query that asks for fields of the master.
const FIELDS: &str = "3";
/// The roles of nodes: the index is the number on the wire.
const ROLES: [&str; 5] = ["master", "candidate", "offline", "drained", "regular"];

/// What a Ganeti cluster knows of itself, from ganeti-confd on its master candidates
///
/// No ZooKeeper is asked. On a node of the cluster the candidates, the key and the port are the node's own. A candidate
/// may have an old configuration: so several are asked, and a query counts as answered once enough have replied. Where
/// too few reply, or where the replies contradict each other, there is one line on standard error, and the status is 1.
/// Where none replies, the status is 3.
#[derive(Args, Debug)]
pub(crate) struct Confd {
    #[command(flatten)]
    asking: Asking,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Query(Query),
    Master(Master),
    Role(Role),
    Peers(Peers),
}

/// Whom to ask, and how long to wait.
#[derive(Args, Debug)]
#[command(next_help_heading = "Ganeti")]
struct Asking {
    /// The addresses of the master candidates; default: those that this node has
    #[arg(
        long,
        env = "ZKCOORD_CONFD_PEERS",
        hide_env_values = true,
        global = true,
        value_delimiter = ',',
        value_name = "ADDRESS,ADDRESS"
    )]
    peers: Option<Vec<String>>,
    /// The file with the cluster's key; default: that of this node
    #[arg(long, env = "ZKCOORD_CONFD_HMAC_KEY_FILE", hide_env_values = true, global = true, value_name = "FILE")]
    hmac_key_file: Option<PathBuf>,
    /// The port of ganeti-confd; default: that in /etc/services, or 1814
    #[arg(long, env = "ZKCOORD_CONFD_PORT", hide_env_values = true, global = true, value_name = "PORT",
          value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// How many candidates are asked: 0 is six of them, -1 is all
    #[arg(long, global = true, default_value = "0", allow_negative_numbers = true, value_name = "N")]
    coverage: i64,
    /// How long to wait for enough replies; default 10 s
    #[arg(short, long, global = true, value_name = "TIME", value_parser = arguments::time)]
    timeout: Option<Duration>,
}

impl Asking {
    fn ask(&self, name: &str, query: Value, coverage: i64, replies: Option<i64>) -> Result<Answer> {
        let key = node::key(self.hmac_key_file.as_deref())?;
        let peers = self.peers.clone().map_or_else(node::candidates, Ok)?;
        let mut client = Client::new(key, &peers, self.port.unwrap_or_else(node::port), RETRIES, Manner::Strict)?;
        ask(&mut client, name, query, Terms { coverage, replies, timeout: self.timeout.unwrap_or(TIMEOUT) })
    }

    /// Asks as many candidates as the options say, and waits until enough of them have replied.
    fn enough(&self, name: &str, query: Value) -> Result<Answer> {
        self.ask(name, query, self.coverage, None)
    }
}

/// Ask any question, and print the answer
#[derive(Args, Debug)]
struct Query {
    /// What type of question
    #[arg(value_name = "TYPE", value_parser = clap::builder::PossibleValuesParser::new(NAMES))]
    name: String,
    /// What is asked for, where the type needs it: a text, or a JSON object such as {"1": "198.51.100.1"}
    query: Option<String>,
    /// Show the secrets of DRBD disks, and private parameters
    #[arg(long)]
    secrets: bool,
}

/// Print which node is the master
#[derive(Args, Debug)]
struct Master {
    /// What to print instead; may be given more than once
    #[arg(long = "field", value_enum, value_name = "WHAT")]
    fields: Vec<Field>,
}

/// What may be asked of the master.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Field {
    /// The master's name
    Name = 0,
    /// The address of the cluster
    Ip = 1,
    /// The primary address of the master
    #[value(name = "mnode-pip", alias = "mnode_pip")]
    MnodePip = 2,
}

/// Print which role a node has in its cluster: master, candidate, offline, drained or regular
#[derive(Args, Debug)]
struct Role {
    /// The node's full name; default: this host's
    node: Option<String>,
}

/// Ask every candidate who the master is, and show who has an old configuration, and who is silent
///
/// The status is 1 where not all candidates have the newest answer, and 3 where all are silent.
#[derive(Args, Debug)]
struct Peers {}

impl Confd {
    pub(crate) fn run(self, output: OutputOptions) -> Result<Status> {
        let asking = self.asking;
        match self.command {
            Command::Query(query) => query.run(&asking, output),
            Command::Master(master) => master.run(&asking, output),
            Command::Role(role) => role.run(&asking, output),
            Command::Peers(Peers {}) => peers(&asking, output),
        }
    }
}

impl Query {
    fn run(self, asking: &Asking, output: OutputOptions) -> Result<Status> {
        let query = match self.query {
            None => Value::Null,
            Some(text) if text.trim_start().starts_with('{') => serde_json::from_str(&text)
                .map_err(|error| Error::Argument { argument: "query", reason: format!("is no JSON: {error}") })?,
            Some(text) => Value::String(text),
        };
        let found = asking.enough(&self.name, query)?;
        let mut answer = found.result()?.clone();
        if !self.secrets {
            leave_out(&mut answer);
        }
        match output.form() {
            Form::Json => print::json(&json!({
                "answer": answer,
                "serial": found.verdict().0.map(|reply| reply.serial),
                "asked": found.peers.len(),
                "replied": found.replied(),
                "needed": found.needed,
            })),
            Form::Text => tell(&answer),
        }
        Ok(Status::DONE)
    }
}

/// Prints an answer. The items of a list are printed one a line.
fn tell(answer: &Value) {
    match answer {
        Value::Array(items) => items.iter().for_each(|item| print::answer(&text(item))),
        answer => print::answer(&text(answer)),
    }
}

/// A text as it is, and any other value as JSON. What a terminal would obey is escaped in both.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        value => value
            .to_string()
            .chars()
            .map(|c| if c.is_ascii() { c.to_string() } else { shown(&c.to_string()) })
            .collect(),
    }
}

impl Master {
    fn run(self, asking: &Asking, output: OutputOptions) -> Result<Status> {
        let query = match self.fields.as_slice() {
            [] => Value::Null,
            fields => json!({FIELDS: fields.iter().map(|field| *field as u8).collect::<Vec<_>>()}),
        };
        let found = asking.enough(MASTER, query)?;
        let answer = found.result()?;
        let is_text = match answer {
            Value::String(_) => self.fields.is_empty(),
            Value::Array(items) => items.len() == self.fields.len() && items.iter().all(Value::is_string),
            _ => false,
        };
        match output.form() {
            _ if !is_text => return Err(found.unexpected()),
            Form::Json => print::json(answer),
            Form::Text => tell(answer),
        }
        Ok(Status::DONE)
    }
}

impl Role {
    fn run(self, asking: &Asking, output: OutputOptions) -> Result<Status> {
        let node = self.node.unwrap_or_else(arguments::host_name);
        let found = asking.enough(ROLE, Value::String(node.clone()))?;
        let number = found.result()?.as_u64().and_then(|number| usize::try_from(number).ok());
        let mut role = number.and_then(|number| ROLES.get(number)).ok_or_else(|| found.unexpected())?;
        if *role == CANDIDATE && asking.is_master(node)? {
            role = &ROLES[0];
        }
        match output.form() {
            Form::Json => print::json(role),
            Form::Text => print::answer(role),
        }
        Ok(Status::DONE)
    }
}

impl Asking {
    /// Whether a node is the master. The candidates call the master a candidate where it is not named in full.
    fn is_master(&self, mut node: String) -> Result<bool> {
        let master = self.enough(MASTER, Value::Null)?;
        let master = master.result()?.as_str().ok_or_else(|| master.unexpected())?.to_owned();
        if Uuid::try_parse(&node).is_ok() {
            let named = self.enough(CONFIG, Value::String(format!("/nodes/{node}/name")))?;
            named.result()?.as_str().ok_or_else(|| named.unexpected())?.clone_into(&mut node);
        }
        Ok(master == node || master.starts_with(&format!("{node}.")))
    }
}

fn peers(asking: &Asking, output: OutputOptions) -> Result<Status> {
    let found = asking.ask(MASTER, Value::Null, ALL, Some(ALL))?;
    let (best, is_consistent) = found.verdict();
    let best = best.filter(|reply| reply.is_ok());
    match output.form() {
        Form::Json => {
            let peers: Map<_, _> =
                found.peers.iter().map(|peer| (peer.address.to_string(), of_peer(&found, peer))).collect();
            print::json(&json!({
                "serial": best.map(|reply| reply.serial),
                "master": best.map(|reply| &reply.answer),
                "consistent": is_consistent,
                "peers": peers,
            }));
        }
        Form::Text => {
            let master = best.map_or_else(
                || "no candidate has an answer".to_owned(),
                |reply| format!("the master is {}, serial {}", text(&reply.answer), reply.serial),
            );
            let agree = if is_consistent { "" } else { ", and candidates contradict each other" };
            let head = ["candidate", "state", "serial", "master", "answered in", "error"];
            let table = print::table(&head, found.peers.iter().map(|peer| row(&found, peer)));
            print::answer(&format!("{master}{agree}\n{table}"));
        }
    }
    let all_are = |wanted| found.peers.iter().all(|peer| found.standing(peer) == wanted);
    Ok(match (all_are(Standing::Current), all_are(Standing::Silent)) {
        (true, _) => Status::DONE,
        (_, true) => Status::UNREACHABLE,
        _ => Status::NO,
    })
}

fn of_peer(found: &Answer, peer: &Peer) -> Value {
    let mut parts = Map::new();
    parts.insert("state".to_owned(), json!(found.standing(peer).name()));
    match &peer.reply {
        Some((reply, after)) => {
            parts.insert("latency".to_owned(), json!(after.as_secs_f64()));
            if reply.is_ok() {
                parts.insert("serial".to_owned(), json!(reply.serial));
                parts.insert("master".to_owned(), reply.answer.clone());
            } else {
                parts.insert("error".to_owned(), reply.answer.clone());
            }
        }
        None => parts.extend(peer.trouble.as_ref().map(|trouble| ("error".to_owned(), json!(trouble)))),
    }
    Value::Object(parts)
}

fn row(found: &Answer, peer: &Peer) -> Vec<String> {
    let state = found.standing(peer).name().to_owned();
    let address = peer.address.to_string();
    let Some((reply, after)) = &peer.reply else {
        let trouble = peer.trouble.as_deref().map(shown).unwrap_or_default();
        return vec![address, state, String::new(), String::new(), String::new(), trouble];
    };
    let (latency, answer) = (format!("{:.1} ms", after.as_secs_f64() * 1000.0), text(&reply.answer));
    if reply.is_ok() {
        vec![address, state, reply.serial.to_string(), answer, latency, String::new()]
    } else {
        vec![address, state, String::new(), String::new(), latency, answer]
    }
}
