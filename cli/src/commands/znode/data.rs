//! `znode get`, `set`, `create`, `rm`: data, and the znodes that have them.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;
use clap::Args;
use serde::Serialize;
use zkcoord::znode::stat::{self, Stat};
use zkcoord::znode::{self, New};
use zkcoord::Error;

use super::acl::Entries;
use super::input::Input;
use crate::arguments::OutputOptions;
use crate::call::{Answer, Calls};
use crate::print::{self, shown, Form};
use crate::status::Status;

/// Print the data of a znode, as they are
///
/// On a terminal they are shown as text, in which what is not printable is escaped. With --json the data are `text`, or
/// `base64` where they are not UTF-8, and the stat goes with them.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The znode
    path: String,
    /// A file to write the data to
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    output: Option<PathBuf>,
}

/// A znode as JSON.
#[derive(Serialize)]
struct Read {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    stat: Stat,
}

impl Get {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = calls.settings().any_path(&self.path)?;
        let full = path.clone();
        let (data, stat) = calls.ask(|client, budget| async move { stat::read(&client, &path, &budget).await }).await?;
        if output.form() == Form::Json {
            let (text, base64) = match String::from_utf8(data) {
                Ok(text) => (Some(text), None),
                Err(error) => (None, Some(BASE64.encode(error.as_bytes()))),
            };
            print::json(&Read { path: calls.settings().shown(&full), text, base64, stat });
        } else if let Some(file) = &self.output {
            fs::write(file, &data).map_err(|error| refused("output", &format!("{}: {error}", file.display())))?;
        } else if io::stdout().is_terminal() {
            let text = String::from_utf8_lossy(&data);
            text.lines().all(|line| print::line(&line.split('\t').map(shown).collect::<Vec<_>>().join("\t")));
        } else {
            print::data(&data).map_err(|error| refused("output", &format!("standard output: {error}")))?;
        }
        Ok(Status::DONE)
    }
}

/// Write the data of a znode
///
/// With --version the data are written only if nobody has written since that version was read: compare and set. A znode
/// at another version is status 1. With --json the new stat is printed.
#[derive(Args, Debug)]
#[command(disable_version_flag = true)]
pub(crate) struct Set {
    /// The znode
    path: String,
    #[command(flatten)]
    input: Input,
    /// Write only if the znode is at this version
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    version: Option<i32>,
}

impl Set {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = calls.settings().any_path(&self.path)?;
        let Some(data) = self.input.read(calls).await? else {
            return Err(
                refused("data", "is missing: give it as an argument, by --file, or as - for standard input").into()
            );
        };
        let version = self.version.unwrap_or(-1);
        let change = |client, budget| async move { znode::set(&client, &path, &data, version, &budget).await };
        let stat = calls.change(change).await?;
        if output.form() == Form::Json {
            print::json(&Stat::from(&stat));
        }
        Ok(Status::DONE)
    }
}

/// Create a znode, and print its path
///
/// The znode is persistent: an ephemeral one would end with this command.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The znode
    path: String,
    #[command(flatten)]
    input: Input,
    /// The servers add a sequence of ten digits to the name
    #[arg(short, long)]
    sequential: bool,
    /// Create the parents that are missing
    #[arg(short, long)]
    parents: bool,
    #[arg(short, long, hide = true)]
    ephemeral: bool,
    #[command(flatten)]
    entries: Entries,
}

impl Create {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        if self.ephemeral {
            let reason =
                "an ephemeral znode ends with the session of who creates it, and so with this command; for as \
                          long as a command runs, hold a slot by `zkcoord run`";
            return Err(refused("ephemeral", reason).into());
        }
        let path = calls.settings().path(&self.path)?;
        let given = self.entries.read(calls.settings())?;
        let acl = given.unwrap_or_else(|| calls.settings().acl.clone());
        let data = self.input.read(calls).await?.unwrap_or_default();
        let (sequence, parents) = (self.sequential, self.parents);
        let new = New { path, data, acl, ephemeral: false, sequence, parents };
        let change = |client, budget| async move { znode::create(&client, &new, &budget).await };
        let created = calls.change(change).await?;
        let created = calls.settings().shown(&created);
        match output.form() {
            Form::Json => print::json(&created),
            Form::Text => print::answer(&shown(&created)),
        }
        Ok(Status::DONE)
    }
}

/// Delete a znode
///
/// A znode that has children is left alone, unless --recursive is given. With --recursive a znode that is not there is
/// no error, and an error in the middle may leave a part of the znodes deleted.
#[derive(Args, Debug)]
#[command(disable_version_flag = true)]
pub(crate) struct Rm {
    /// The znode
    path: String,
    /// Delete all znodes below it, too
    #[arg(short, long)]
    recursive: bool,
    /// Delete only if the znode is at this version
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    version: Option<i32>,
}

impl Rm {
    pub(crate) async fn run(self, calls: &mut Calls) -> Answer<Status> {
        let path = calls.settings().path(&self.path)?;
        let (version, recursive) = (self.version.unwrap_or(-1), self.recursive);
        let change = |client, budget| async move { znode::delete(&client, &path, version, recursive, &budget).await };
        calls.change(change).await?;
        Ok(Status::DONE)
    }
}

fn refused(argument: &'static str, reason: &str) -> Error {
    Error::Argument { argument, reason: reason.to_owned() }
}
