//! `run`: a command that holds a slot while it runs.
//!
//! | moment | signal to us | session lost, or silent for too long | we are killed |
//! | --- | --- | --- | --- |
//! | waiting | the wait ends, the queue node is deleted; 128+n | a new session, at the end of the queue | the servers remove the queue node with the session |
//! | running | goes to the command, unless the terminal has sent it to both | the command is ended before the servers can give the slot on; 6 | the kernel ends the command; the servers remove the lease with the session |
//! | giving back | ends it; the servers remove the lease with the session | the slot is free | the servers remove the lease with the session |

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use zkcoord::recipe::semaphore::{self, Acquired, Claim, Hold};
use zkcoord::wait::deadline::Timeout;
use zkcoord::wait::{Budget, Cancel};
use zkcoord::Error;

use crate::arguments::{self, OutputOptions};
use crate::call::{Answer, Calls, Ended};
use crate::child;
use crate::print::{self, shown};
use crate::progress;
use crate::status::Status;

/// Of the session timeout, what the command may take at most to end after SIGTERM.
const MOST_OF_TIMEOUT: u32 = 2;
/// Between the end of the command and the moment when the servers may give the slot on.
const MARGIN: Duration = Duration::from_millis(250);

/// Take a slot, run a command with it, and give the slot back
///
/// Ends with the status of the command. The command has ZKCOORD_PATH, ZKCOORD_IDENTIFIER and ZKCOORD_TOKEN in its
/// environment: a greater token is a later holder's, so that a store which remembers the greatest can refuse those who
/// come too late. SIGINT, SIGTERM and SIGHUP are passed on to it. If the session is lost, or the servers cannot be heard
/// for so long that it may be, the command and all that it has started get SIGTERM, and SIGKILL after --kill-after,
/// before the servers can give the slot to another. While this program is stopped (SIGSTOP, Ctrl-Z) it can do no such
/// thing.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The pool, such as /restart/web. It is made when it is missing
    path: String,
    /// How many may hold a slot; all must say the same
    #[arg(short = 'n', long = "max", default_value = "1", value_name = "N")]
    limit: NonZeroU32,
    /// How long to wait for a slot; 0 tries once; without it for ever
    #[arg(short, long, value_name = "TIME", value_parser = arguments::timeout)]
    timeout: Option<Timeout>,
    /// Who holds the slot. Whoever has the same identifier shares it; default: host:pid, with --persistent the host's name
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The slot ends with this program, however that ends; the default
    #[arg(long, conflicts_with = "persistent")]
    ephemeral: bool,
    /// The slot stays if this program or the host dies, until the next run with the same identifier takes it over
    #[arg(long)]
    persistent: bool,
    /// What happens to the command when the slot is lost
    #[arg(long, value_enum, default_value = "stop", value_name = "WHAT")]
    on_loss: OnLoss,
    /// How long the command has between SIGTERM and SIGKILL, at most half of the session timeout
    #[arg(long, default_value = "5", value_name = "TIME", value_parser = arguments::time)]
    kill_after: Duration,
    /// Let the command live on if this program is killed
    #[arg(long)]
    outlive: bool,
    /// The command, and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What happens to the command when the slot is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnLoss {
    /// It is ended
    Stop,
    /// It runs on, and a line on standard error tells of it
    Ignore,
}

impl Run {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let host = arguments::host_name();
        let identifier = match (&self.id, self.persistent) {
            (Some(id), _) => id.clone(),
            (None, true) => host,
            (None, false) => format!("{host}:{}", std::process::id()),
        };
        let claim =
            Claim::new(calls.settings(), &self.path, identifier, self.limit.get(), !self.persistent)?.of_its_own();
        let Some(hold) = self.take(calls, claim, output).await? else {
            if !output.quiet {
                print::note(&format!("no slot of {} was free in time; nothing was run", shown(&self.path)));
            }
            return Ok(Status::NO);
        };
        let ended = self.with(calls, &hold, output).await;
        // The end of the session gives back what is lost, or as good as lost.
        if ended != Status::LOST || self.persistent {
            self.give_back(calls, hold, output).await;
        }
        Ok(ended)
    }

    /// Waits for a slot. `None`: the time was up.
    async fn take(&self, calls: &mut Calls, claim: Claim, output: OutputOptions) -> Answer<Option<Hold>> {
        let (sender, positions) = tokio::sync::watch::channel(0);
        let telling = progress::tell(progress::manner(output), calls.client(), claim.pool.clone(), positions);
        let taking = calls.wait(self.timeout.unwrap_or(Timeout::Forever), |client, budget| async move {
            semaphore::acquire(&client, claim, &budget, Some(sender)).await
        });
        let acquired = tokio::select! {
            biased;
            acquired = taking => acquired?,
            () = telling => unreachable!("telling does not end"),
        };
        let hold = match acquired {
            Acquired::Taken(hold) => hold,
            Acquired::Already => return Err(Error::Internal("a hold of its own was there already".into()).into()),
            Acquired::No => return Ok(None),
        };
        match calls.came.take() {
            None => Ok(Some(hold)),
            Some(number) => {
                let error = semaphore::undo(&calls.client(), &hold, crate::signals::name(number)).await;
                Err(Ended::Signalled(number, error))
            }
        }
    }

    /// Runs the command while the slot is held. The exit status.
    async fn with(&self, calls: &mut Calls, hold: &Hold, output: OutputOptions) -> Status {
        let client = calls.client();
        let path = client.settings().shown(&hold.pool);
        let token = hold.czxid.map(|token| token.to_string()).unwrap_or_default();
        let environment =
            [("ZKCOORD_PATH", path), ("ZKCOORD_IDENTIFIER", hold.identifier.clone()), ("ZKCOORD_TOKEN", token)];
        let mut running = match child::start(&self.command, &environment, !self.outlive) {
            Ok(running) => running,
            Err(error) => {
                print::note(&format!("cannot run {}: {error}", shown(&self.command[0].to_string_lossy())));
                return child::status_of(&error);
            }
        };
        let timeout = client.settings().identity.session_timeout();
        let kill_after = self.kill_after.min(timeout / MOST_OF_TIMEOUT);
        let budget = Budget::waiting(Timeout::Forever, client.settings().connect_timeout, Cancel::default());
        let losing = async {
            // A lease that nobody may read counts as lost: it cannot be looked after.
            semaphore::lost_early(&client, hold, kill_after + MARGIN, &budget).await.ok().flatten()
        };
        let kept = tokio::select! {
            biased;
            ended = running.ended(&mut calls.signals) => return result(ended),
            kept = losing => kept,
        };
        let end = Instant::now() + kill_after;
        let end = kept.and_then(|until| until.checked_sub(MARGIN)).map_or(end, |until| until.min(end));
        let lost = format!("the slot of {} is lost, or may be soon", shown(&hold.pool));
        if self.on_loss == OnLoss::Ignore {
            print::note(&format!("{lost}; the command runs on without it"));
            return result(running.ended(&mut calls.signals).await);
        }
        if !output.quiet {
            print::note(&format!("{lost}; the command is ended"));
        }
        running.stop(end).await;
        Status::LOST
    }

    /// Gives the slot back. What cannot be given back ends with the session.
    async fn give_back(&self, calls: &mut Calls, hold: Hold, output: OutputOptions) {
        let pool = hold.pool.clone();
        let released = calls.change(|client, budget| async move { semaphore::release(&client, &hold, &budget).await });
        if let Err(ended) = released.await {
            let until = if self.persistent { "it stays until it is unlocked" } else { "it ends with its session" };
            if !output.quiet {
                print::note(&format!("the slot of {} was not given back, {until}: {}", shown(&pool), ended.error()));
            }
        }
    }
}

fn result(ended: std::io::Result<Status>) -> Status {
    ended.unwrap_or_else(|error| {
        print::note(&format!("cannot wait for the command: {error}"));
        Status::DEFECT
    })
}
