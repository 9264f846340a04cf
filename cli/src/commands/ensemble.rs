//! `ensemble`: the servers themselves.

use clap::{Args, Subcommand};
use serde_json::json;
use zkcoord::client::Client;
use zkcoord::ensemble::change::{self, Changed};
use zkcoord::ensemble::configuration::{Configuration, Member};
use zkcoord::ensemble::decision::Step;
use zkcoord::ensemble::examine::{examine, Commands};
use zkcoord::ensemble::restart::restart_order;
use zkcoord::ensemble::status::{self as servers, Row};
use zkcoord::wait::deadline::Timeout;
use zkcoord::Error;

use crate::arguments::{self, OutputOptions};
use crate::call::{Answer, Calls};
use crate::print::{self, shown, Form};
use crate::status::Status;

const HEAD: [&str; 11] =
    ["id", "address", "role", "mode", "in sync", "version", "zxid", "behind", "clients", "latency ms", "up since"];
/// The commands that the findings advise, as this program calls them.
const COMMANDS: Commands =
    Commands { remove: "zkcoord ensemble remove", restart_order: "zkcoord ensemble restart-order" };

/// The servers themselves: who leads, who is in, who lags, and a change that the servers survive
#[derive(Args, Debug)]
pub(crate) struct Ensemble {
    /// The port of the servers' AdminServers, which are asked where a server does not answer a four-letter word; 0 for
    /// none
    #[arg(long, default_value = "8080", value_name = "PORT", global = true)]
    admin_port: u16,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(StatusOf),
    Members(Members),
    Add(Add),
    Remove(Remove),
    RestartOrder(RestartOrder),
    Doctor(Doctor),
}

impl Ensemble {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let port = self.admin_port;
        match self.command {
            Command::Status(StatusOf {}) => status(calls, output, port).await,
            Command::Members(Members {}) => members(calls, output).await,
            Command::Add(add) => {
                let member = Member::parse(&add.member)?;
                step(calls, output, Step::Join(member), add.change.terms(port), add.change.timeout).await
            }
            Command::Remove(remove) => {
                let id = id_of(&remove.member)?;
                step(calls, output, Step::Leave(id), remove.change.terms(port), remove.change.timeout).await
            }
            Command::RestartOrder(RestartOrder {}) => in_order(calls, output, port).await,
            Command::Doctor(Doctor {}) => doctor(calls, output, port).await,
        }
    }
}

/// Show a row for each server, whether it answers or not; the status is 1 without a quorum, 3 where none serves
#[derive(Args, Debug)]
struct StatusOf {}

/// Print who is in the ensemble, a line each, as the servers have it
#[derive(Args, Debug)]
struct Members {}

/// Add a server, or change its role, if the ensemble survives it, and wait until it is in sync
///
/// The server has to run already, with all members and itself in its list: it follows then, and does not vote. A step
/// that is refused is one line, and the status is 1.
#[derive(Args, Debug)]
struct Add {
    /// The server: server.ID=HOST:PORT:PORT[:ROLE];[HOST:]PORT
    member: String,
    #[command(flatten)]
    change: Change,
}

/// Remove a server, if the rest survives it, and wait until the others are in sync
///
/// The server itself runs on, without a vote, until somebody stops it. A step that is refused is one line, and the
/// status is 1.
#[derive(Args, Debug)]
struct Remove {
    /// Its id, or server.ID
    member: String,
    #[command(flatten)]
    change: Change,
}

/// How a change is made.
#[derive(Args, Debug)]
struct Change {
    /// Tell what would become of the members, and change nothing
    #[arg(long)]
    only_decide: bool,
    /// How long the change may take; default: --connect-timeout
    #[arg(short, long, value_name = "TIME", value_parser = arguments::timeout)]
    timeout: Option<Timeout>,
}

impl Change {
    fn terms(&self, admin_port: u16) -> change::Terms {
        change::Terms { admin_port, from: None, only_decide: self.only_decide }
    }
}

/// Print in which order the members are restarted: observers, then followers, the leader last
///
/// So there is one election, and not one after each restart. Ask again before each restart: another member may lead by
/// then.
#[derive(Args, Debug)]
struct RestartOrder {}

/// Find what is odd about the ensemble, and say what to do about each finding; the status is 1 where there is one
///
/// Findings are no quorum, or one that a single failure would end; an even number of participants; a member that does
/// not answer or is not in sync; a server that is no member; members that disagree on the configuration, or are of
/// different versions; four-letter words that a server refuses; clocks that differ, as far as AdminServers tell them;
/// zxids near their end. The command changes nothing.
#[derive(Args, Debug)]
struct Doctor {}

async fn all(calls: &mut Calls, admin_port: u16, clocks: bool) -> Answer<servers::Status> {
    let ask = |client: Client, budget| async move { servers::status(&client, admin_port, clocks, &budget).await };
    calls.ask(ask).await
}

async fn status(calls: &mut Calls, output: OutputOptions, admin_port: u16) -> Answer<Status> {
    let found = all(calls, admin_port, false).await?;
    match output.form() {
        Form::Json => print::json(&found),
        Form::Text => print::answer(&text(&found)),
    }
    let serves = found.servers.iter().any(|row| row.mode.is_some());
    Ok(match (serves, found.has_quorum || found.config.is_empty()) {
        (false, _) => Status::UNREACHABLE,
        (true, true) => Status::DONE,
        (true, false) => Status::NO,
    })
}

fn text(found: &servers::Status) -> String {
    let count = found.servers.iter().filter(|row| row.in_sync).count();
    let led = found.leader.map_or_else(|| "nobody leads".to_owned(), |id| format!("server.{id} leads"));
    let quorum = if found.has_quorum { "a quorum" } else { "NO QUORUM" };
    let version = found.config_version.map(|version| format!(", configuration {version:x}")).unwrap_or_default();
    let mut text = format!("{count} of {} servers in sync: {quorum}, {led}{version}\n", found.servers.len());
    text += &print::table(&HEAD, found.servers.iter().map(row));
    for row in &found.servers {
        if let Some(trouble) = &row.trouble {
            text += &format!("\n{}: {}", name(row), shown(trouble));
        }
    }
    if let Some(trouble) = &found.trouble {
        text += &format!("\nthe configuration: {}", shown(trouble));
    }
    if found.has_quorum && !found.critical.is_empty() {
        let critical: Vec<_> = found.critical.iter().map(ToString::to_string).collect();
        text += &format!("\none more failure ends the quorum: none of {} may fail", critical.join(", "));
    }
    text
}

fn row(row: &Row) -> Vec<String> {
    let or_none = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), shown);
    let number = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
    vec![
        number(row.id.map(|id| id.to_string())),
        or_none(row.address.as_deref()),
        or_none(row.role),
        or_none(row.mode.as_deref()),
        if row.in_sync { "yes" } else { "NO" }.to_owned(),
        or_none(row.version.as_deref()),
        or_none(row.zxid.as_deref()),
        number(row.behind.map(|behind| behind.to_string())),
        number(row.connections.map(|connections| connections.to_string())),
        or_none(row.latency.as_deref()),
        or_none(row.since.as_deref()),
    ]
}

fn name(row: &Row) -> String {
    match (row.id, &row.address) {
        (Some(id), _) => format!("server.{id}"),
        (None, address) => address.as_deref().map(shown).unwrap_or_default(),
    }
}

async fn members(calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
    let ask = |client: Client, budget| async move { change::configuration(&client, &budget).await };
    let configuration = calls.ask(ask).await?;
    tell(&configuration, None, output);
    Ok(Status::DONE)
}

/// Tells who is in the ensemble, and whether that was changed.
fn tell(configuration: &Configuration, is_changed: Option<bool>, output: OutputOptions) {
    let lines = configuration.texts();
    match (output.form(), is_changed) {
        (Form::Json, None) => print::json(&json!({"members": lines, "version": configuration.version})),
        (Form::Json, Some(changed)) => {
            print::json(&json!({"changed": changed, "members": lines, "version": configuration.version}));
        }
        (Form::Text, _) => lines.iter().for_each(|line| print::answer(&shown(line))),
    }
}

/// The id in `server.4`, `4`, or a whole line.
fn id_of(member: &str) -> zkcoord::Result<i64> {
    let id = member.split('=').next().unwrap_or_default().trim();
    let id = id.strip_prefix("server.").unwrap_or(id);
    let digits = Some(id).filter(|id| id.chars().all(|c| c.is_ascii_digit()));
    digits.and_then(|id| id.parse().ok()).ok_or_else(|| Error::Argument {
        argument: "member",
        reason: format!("{} is no member; give its id, or server.ID", shown(member)),
    })
}

async fn step(
    calls: &mut Calls,
    output: OutputOptions,
    step: Step,
    terms: change::Terms,
    timeout: Option<Timeout>,
) -> Answer<Status> {
    let change = |client: Client, budget| async move { change::step(&client, &step, terms, &budget).await };
    let changed = calls.change_within(timeout.unwrap_or(Timeout::Forever), change).await?;
    let Changed { is_changed, configuration } = changed;
    if !output.quiet && output.form() == Form::Text {
        print::note(match (is_changed, terms.only_decide) {
            (false, _) => "it was like that already; nothing was changed",
            (true, true) => "these would be the members; nothing was changed",
            (true, false) => "these are the members now, and all are in sync that were so before",
        });
    }
    tell(&configuration, Some(is_changed), output);
    Ok(Status::DONE)
}

async fn in_order(calls: &mut Calls, output: OutputOptions, admin_port: u16) -> Answer<Status> {
    let found = all(calls, admin_port, false).await?;
    let order = restart_order(&found)?;
    match output.form() {
        Form::Json => {
            let rows: Vec<_> = order
                .iter()
                .map(|row| {
                    json!({"id": row.id, "address": row.address, "role": row.role, "mode": row.mode,
                           "in_sync": row.in_sync})
                })
                .collect();
            print::json(&rows);
        }
        Form::Text => print::answer(&print::table(&HEAD[..5], order.iter().map(|it| row(it)[..5].to_vec()))),
    }
    Ok(Status::DONE)
}

async fn doctor(calls: &mut Calls, output: OutputOptions, admin_port: u16) -> Answer<Status> {
    let found = all(calls, admin_port, true).await?;
    let findings = examine(&found, COMMANDS);
    let named = calls.settings().hosts();
    match output.form() {
        Form::Json => print::json(&json!({"path": named, "findings": findings})),
        Form::Text if findings.is_empty() => {
            if !output.quiet {
                print::answer(&format!("{named}: nothing odd"));
            }
        }
        Form::Text => {
            let plural = if findings.len() == 1 { "" } else { "s" };
            print::answer(&format!("{named}: {} finding{plural}", findings.len()));
            for (number, finding) in (1..).zip(&findings) {
                print::answer(&format!("{number:>4}. {}\n      {}", shown(&finding.what), shown(&finding.remedy)));
            }
        }
    }
    Ok(if findings.is_empty() { Status::DONE } else { Status::NO })
}
