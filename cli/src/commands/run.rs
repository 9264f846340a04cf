//! `run`: a command that holds a slot while it runs.
//!
//! | moment | signal to us | session lost, or silent for too long | we are killed |
//! | --- | --- | --- | --- |
//! | waiting | the wait ends, the queue node is deleted; 128+n | a new session, at the end of the queue | the servers remove the queue node with the session |
//! | running | goes to the command, unless the terminal has sent it to both | the command is ended before the servers can give the slot on; 6 | the kernel ends the command; the servers remove the lease with the session |
//! | giving back | ends it; the servers remove the lease with the session | the slot is free | the servers remove the lease with the session |

use std::time::{Duration, Instant};

use clap::Args;
use zkcoord::recipe::semaphore::{self, Acquired, Claim, Hold};
use zkcoord::wait::deadline::Timeout;
use zkcoord::wait::{Budget, Cancel};
use zkcoord::Error;

use crate::arguments::{self, OutputOptions};
use crate::call::{self, Answer, Calls};
use crate::commands::pool::Wanted;
use crate::held::{self, Ended, Held, Loss};
use crate::print::{self, shown};
use crate::progress;
use crate::status::Status;

/// How long this program asks who has taken its slot away.
const EVICTION_LIMIT: Duration = Duration::from_secs(2);

/// What is left between the end of the command and the moment when the servers may give the slot to another.
const MARGIN: Duration = Duration::from_millis(250);

/// Take a slot, run a command with it, and give the slot back
///
/// Ends with the status of the command. The command has ZKCOORD_PATH, ZKCOORD_IDENTIFIER and ZKCOORD_TOKEN in its
/// environment: a greater token is a later holder's, so that a store which remembers the greatest can refuse those who
/// come too late. SIGINT, SIGTERM and SIGHUP are passed on to the command. If the session is lost, or the servers
/// cannot be heard for so long that it may be, the command and all processes that it has started get SIGTERM, and
/// SIGKILL after --kill-after, before the servers can give the slot to another. While this program is stopped (SIGSTOP,
/// Ctrl-Z) it cannot end the command.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    slot: Wanted,
    /// Who holds the slot. Whoever has the same identifier shares it; default: host:pid, with --persistent the host's name
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The slot ends with this program, however that ends; the default
    #[arg(long, conflicts_with = "persistent")]
    ephemeral: bool,
    /// The slot stays if this program or the host dies, until the next run with the same identifier takes it over
    #[arg(long)]
    persistent: bool,
    #[command(flatten)]
    terms: held::Terms,
}

impl Run {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let host = arguments::host_name();
        let identifier = match (&self.id, self.persistent) {
            (Some(id), _) => id.clone(),
            (None, true) => host,
            (None, false) => format!("{host}:{}", std::process::id()),
        };
        let claim = self.slot.claim(calls.settings(), identifier, !self.persistent)?.of_its_own();
        let Some(hold) = self.take(calls, claim, output).await? else {
            if !output.quiet {
                print::note(&format!("no slot of {} was free in time; nothing was run", shown(&self.slot.path)));
            }
            return Ok(Status::NO);
        };
        let ended = self.with(calls, &hold, output).await;
        if ended == Ended::Stopped {
            Self::tell_of_eviction(calls, &hold, output).await;
        }
        // Where the slot was lost, or may have been, the end of the session removes an ephemeral lease.
        if ended != Ended::Stopped || self.persistent {
            self.give_back(calls, hold, output).await;
        }
        Ok(match ended {
            Ended::Itself(status) => status,
            Ended::Stopped => Status::LOST,
        })
    }

    /// Waits for a slot. `None`: the time was up.
    async fn take(&self, calls: &mut Calls, claim: Claim, output: OutputOptions) -> Answer<Option<Hold>> {
        let (sender, positions) = tokio::sync::watch::channel(0);
        let telling = progress::tell(progress::manner(output), calls.client(), claim.pool.clone(), positions);
        let taking = calls.wait(self.slot.timeout(), |client, budget| async move {
            semaphore::acquire(&client, claim, &budget, Some(sender)).await
        });
        let acquired = progress::beside(telling, taking).await?;
        let hold = match acquired {
            Acquired::Taken(hold) => hold,
            Acquired::Already => return Err(Error::Internal("a hold of its own was there already".into()).into()),
            Acquired::No => return Ok(None),
        };
        match calls.came.take() {
            None => Ok(Some(hold)),
            Some(number) => {
                let error = semaphore::undo(&calls.client(), &hold, crate::signals::name(number)).await;
                Err(call::Ended::Signalled(number, error))
            }
        }
    }

    /// Runs the command while the slot is held.
    async fn with(&self, calls: &mut Calls, hold: &Hold, output: OutputOptions) -> Ended {
        let client = calls.client();
        let held = Held {
            path: client.settings().shown(&hold.pool),
            identifier: hold.identifier.clone(),
            token: hold.czxid.map(|token| token.to_string()).unwrap_or_default(),
        };
        let kill_after = self.terms.kill_after(client.settings().identity.session_timeout());
        let budget = Budget::waiting(Timeout::Forever, client.settings().connect_timeout, Cancel::default());
        let losing = async {
            // A lease that this user may not read counts as lost: nothing would tell that it is gone.
            let kept = semaphore::lost_early(&client, hold, kill_after + MARGIN, &budget).await.ok().flatten();
            let end = Instant::now() + kill_after;
            let end = kept.and_then(|until| until.checked_sub(MARGIN)).map_or(end, |until| until.min(end));
            let text = format!("the slot of {} is lost, or may be soon", shown(&hold.pool));
            Loss { text, over: Box::pin(tokio::time::sleep_until(end.into())) }
        };
        self.terms.run(calls, held, losing, output).await
    }

    /// Says who has taken the slot away, where somebody has left a notice of that.
    async fn tell_of_eviction(calls: &mut Calls, hold: &Hold, output: OutputOptions) {
        let asking = |client, budget| async move { semaphore::eviction(&client, hold, &budget).await };
        if output.quiet {
            return;
        }
        let asked = tokio::time::timeout(EVICTION_LIMIT, calls.ask(asking)).await;
        if let Ok(Ok(Some(eviction))) = asked {
            print::note(&format!("the slot of {} was lost: {eviction}", shown(&hold.pool)));
        }
    }

    /// Gives the slot back. An ephemeral lease that cannot be given back ends with the session; a persistent one stays.
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
