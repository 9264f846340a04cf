//! A command that runs while a slot or a lease is held, and that has ended when somebody else may hold it.

use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::arguments::{self, OutputOptions};
use crate::call::Calls;
use crate::child;
use crate::print::{self, shown};
use crate::status::Status;

/// A slot or a lease lasts for some time without a word to the servers. After SIGTERM the command has at most this part
/// of that time: one half.
const MOST_OF_TIME: u32 = 2;

/// The command, and how it is ended.
#[derive(Args, Debug)]
pub(crate) struct Terms {
    /// What happens to the command when the slot or the lease is lost
    #[arg(long, value_enum, default_value = "stop", value_name = "WHAT")]
    on_loss: OnLoss,
    /// How long the command has between SIGTERM and SIGKILL, at most half of the session timeout, or of a lease's duration
    #[arg(long, default_value = "5", value_name = "TIME", value_parser = arguments::time)]
    kill_after: Duration,
    /// Let the command live on if this program is killed
    #[arg(long)]
    outlive: bool,
    /// The command, and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What happens to the command when the slot or the lease is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLoss {
    /// It is ended
    Stop,
    /// It runs on, and a line on standard error tells of it
    Ignore,
}

/// The variables that the command finds in its environment.
#[derive(Debug)]
pub(crate) struct Held {
    /// ZKCOORD_PATH.
    pub(crate) path: String,
    /// ZKCOORD_IDENTIFIER.
    pub(crate) identifier: String,
    /// ZKCOORD_TOKEN.
    pub(crate) token: String,
}

/// The slot or the lease is lost, or will be soon.
pub(crate) struct Loss {
    /// What has happened, for a line on standard error.
    pub(crate) text: String,
    /// Done when the command must have ended.
    pub(crate) over: Pin<Box<dyn Future<Output = ()>>>,
}

/// How the command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It has ended by itself, or could not be started.
    Itself(Status),
    /// It was ended, because the slot or the lease was lost.
    Stopped,
}

impl Terms {
    /// How long the command has between SIGTERM and SIGKILL. `time` is for how long the slot or the lease lasts without
    /// a word to the servers.
    pub(crate) fn kill_after(&self, time: Duration) -> Duration {
        self.kill_after.min(time / MOST_OF_TIME)
    }

    /// Whether the command is ended when the slot or the lease is lost.
    pub(crate) fn stops(&self) -> bool {
        self.on_loss == OnLoss::Stop
    }

    /// Runs the command, until it ends or `losing` is done.
    pub(crate) async fn run(
        &self,
        calls: &mut Calls,
        held: Held,
        losing: impl Future<Output = Loss>,
        output: OutputOptions,
    ) -> Ended {
        let environment =
            [("ZKCOORD_PATH", held.path), ("ZKCOORD_IDENTIFIER", held.identifier), ("ZKCOORD_TOKEN", held.token)];
        let mut running = match child::start(&self.command, &environment, !self.outlive) {
            Ok(running) => running,
            Err(error) => {
                print::note(&format!("cannot run {}: {error}", shown(&self.command[0].to_string_lossy())));
                return Ended::Itself(child::status_of(&error));
            }
        };
        let Loss { text, over } = tokio::select! {
            biased;
            ended = running.ended(&mut calls.signals) => return Ended::Itself(result(ended)),
            loss = losing => loss,
        };
        if self.on_loss == OnLoss::Ignore {
            print::note(&format!("{text}; the command runs on without it"));
            return Ended::Itself(result(running.ended(&mut calls.signals).await));
        }
        if !output.quiet {
            print::note(&format!("{text}; the command is ended"));
        }
        running.stop(over).await;
        Ended::Stopped
    }
}

fn result(ended: std::io::Result<Status>) -> Status {
    ended.unwrap_or_else(|error| {
        print::note(&format!("cannot wait for the command: {error}"));
        Status::DEFECT
    })
}
