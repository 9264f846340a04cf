//! `lease`: claims that end by the clock, whatever has died.
//!
//! What becomes of `lease run`:
//!
//! | moment | signal to us | no renewal is acknowledged | somebody takes it away | we are killed |
//! | --- | --- | --- | --- | --- |
//! | waiting | the wait ends, the queue node is deleted; 128+n | the queue node stays until its session ends | others may go first | the servers remove the queue node with the session |
//! | running | goes to the command, unless the terminal has sent it to both | the command is ended before the lease ends by our clock; 6 | the command is ended; 6 | the kernel ends the command; the lease runs out |
//! | giving back | the lease runs out | the lease runs out | it is another's; 6 | the lease runs out |

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::json;
use zkcoord::client::Client;
use zkcoord::recipe::timed_lease::claim::{lease_path, named};
use zkcoord::recipe::timed_lease::clock::{self, Moment};
use zkcoord::recipe::timed_lease::{self, Claim, End, Hold, News, Pace, Rule, Taken, Whose};
use zkcoord::wait::deadline::Timeout;

use crate::arguments::{self, OutputOptions};
use crate::call::{self, Answer, Calls};
use crate::held::{self, Ended, Held, Loss};
use crate::print::{self, age, shown, Form};
use crate::progress;
use crate::signals;
use crate::status::Status;

/// By how much the clocks of two servers may differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(1);
/// The pace of renewals for a long lease, as that of the library; a short one is renewed in parts of its duration.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const PERIODS_OF_DURATION: u32 = 6;
const DEADLINES_OF_DURATION: u32 = 2;
/// What is left between the end of the command and the end of the lease: so much, or this part of a short lease.
const MARGIN: Duration = Duration::from_millis(250);
const MARGINS_OF_DURATION: u32 = 8;

/// Leases: one holder at a time, and a claim that ends by the clock
///
/// A slot ends with its session, or when it is given back. A lease ends when it was not renewed for its duration,
/// whatever has died: its holder, the holder's host, or the network between. Its record is that of Kubernetes' leader
/// election.
#[derive(Args, Debug)]
pub(crate) struct Lease {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Run),
    Lock(Lock),
    Unlock(Unlock),
    Status(StatusOf),
    List(List),
}

impl Lease {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        match self.command {
            Command::Run(run) => run.run(calls, output).await,
            Command::Lock(lock) => lock.run(calls, output).await,
            Command::Unlock(unlock) => unlock.run(calls, output).await,
            Command::Status(status) => status.run(calls, output).await,
            Command::List(list) => list.run(calls, output).await,
        }
    }
}

/// Which lease, for whom, and for how long.
#[derive(Args, Debug)]
struct Wanted {
    /// The lease, such as /leases/prod/migration. It is made when it is missing
    path: String,
    /// For how long the lease is held after it was taken or renewed
    #[arg(short, long, default_value = "60", value_name = "TIME", value_parser = arguments::time)]
    duration: Duration,
    /// How long to wait for the lease; 0 tries once; without it for ever
    #[arg(short, long, value_name = "TIME", value_parser = arguments::timeout)]
    timeout: Option<Timeout>,
    /// Who holds it; default: the host's name
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
}

impl Wanted {
    fn claim(&self, calls: &Calls, by_name: bool) -> zkcoord::Result<Claim> {
        let owner = self.owner.clone().unwrap_or_else(arguments::host_name);
        let rule = Rule::Observed { max_clock_skew: Some(MAX_CLOCK_SKEW) };
        Claim::new(calls.settings(), &self.path, owner, by_name, self.duration, rule)
    }

    /// Waits for the lease. `None`: the time was up.
    async fn take(&self, calls: &mut Calls, claim: Claim, output: OutputOptions) -> Answer<Option<Taken>> {
        let (sender, positions) = tokio::sync::watch::channel(0);
        let manner = progress::manner(output);
        let telling = progress::tell_of_lease(manner, calls.client(), claim.path.clone(), positions);
        let taking = calls.wait(self.timeout.unwrap_or(Timeout::Forever), |client, budget| async move {
            timed_lease::acquire(&client, claim, &budget, Some(sender)).await
        });
        let taken = progress::beside(telling, taking).await?;
        match (taken, calls.came.take()) {
            (Some(taken), Some(number)) => {
                let error = timed_lease::undo(&calls.client(), &taken, signals::name(number)).await;
                Err(call::Ended::Signalled(number, error))
            }
            (taken, _) => Ok(taken),
        }
    }

    fn was_not_free(&self, output: OutputOptions, consequence: &str) -> Status {
        if !output.quiet {
            print::note(&format!("the lease {} was not free in time{consequence}", shown(&self.path)));
        }
        Status::NO
    }
}

/// Take a lease, run a command while it is renewed, and give the lease back
///
/// Ends with the status of the command. The command has ZKCOORD_PATH, ZKCOORD_IDENTIFIER, the owner, and ZKCOORD_TOKEN
/// in its environment: a greater token is a later holder's. SIGINT, SIGTERM and SIGHUP are passed on to the command.
/// While the command runs, the lease is renewed. If no renewal is acknowledged, the command and all processes that it
/// has started get SIGTERM, and SIGKILL after --kill-after, before the lease ends by this host's clock. If somebody
/// takes the lease away, they get SIGTERM at once. While this program is stopped (SIGSTOP, Ctrl-Z) it can neither renew
/// the lease nor end the command.
#[derive(Args, Debug)]
struct Run {
    #[command(flatten)]
    lease: Wanted,
    #[command(flatten)]
    terms: held::Terms,
}

impl Run {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let claim = self.lease.claim(calls, false)?;
        let pace = pace(claim.duration);
        pace.check(claim.duration)?;
        let Some(taken) = self.lease.take(calls, claim, output).await? else {
            return Ok(self.lease.was_not_free(output, "; nothing was run"));
        };
        let hold = timed_lease::keep(&calls.client(), taken, pace, Arc::new(teller(&self.lease.path, output)));
        match self.with(calls, &hold, output).await {
            Ended::Stopped => Ok(Status::LOST),
            Ended::Itself(status) => {
                let lost = match hold.ended() {
                    None => self.give_back(calls, &hold, output).await,
                    ended => ended,
                };
                match lost.filter(|_| self.terms.stops()) {
                    None => Ok(status),
                    Some(end) => {
                        if !output.quiet {
                            print::note(&format!("the lease {} was lost: {}", shown(&self.lease.path), text_of(&end)));
                        }
                        Ok(Status::LOST)
                    }
                }
            }
        }
    }

    /// Runs the command while the lease is held.
    async fn with(&self, calls: &mut Calls, hold: &Hold, output: OutputOptions) -> Ended {
        let client = calls.client();
        let claim = hold.claim();
        let path = client.settings().shown(&claim.path);
        let held = Held { path: path.clone(), identifier: claim.owner.clone(), token: hold.token().to_string() };
        let kill_after = self.terms.kill_after(claim.duration);
        let margin = MARGIN.min(claim.duration / MARGINS_OF_DURATION);
        let losing = async {
            let until = hold.lost_early(kill_after + margin).await;
            let end = Moment::now().after(kill_after);
            let path = shown(&path);
            let (text, end) = match until {
                None => {
                    let how = hold.ended().map(|end| text_of(&end)).unwrap_or_default();
                    (format!("the lease {path} is lost: {how}"), end)
                }
                Some(until) => {
                    let left = until.since(Moment::now());
                    let text = format!(
                        "the lease {path} ends in {:.1} s, and no renewal was acknowledged for {:.1} s",
                        left.as_secs_f64(),
                        claim.duration.saturating_sub(left).as_secs_f64(),
                    );
                    (text, end.min(Moment(until.0.saturating_sub(margin))))
                }
            };
            if self.terms.stops() {
                // A renewal that came through now would keep the lease from others, though nobody works under it.
                hold.stop();
            }
            Loss { text, over: Box::pin(clock::until(end)) }
        };
        self.terms.run(calls, held, losing, output).await
    }

    /// Gives the lease back, and returns how it was lost before that, if it was. What cannot be given back runs out.
    async fn give_back(&self, calls: &mut Calls, hold: &Hold, output: OutputOptions) -> Option<End> {
        let released = calls.change(|client, budget| async move { hold.release(&client, &budget).await }).await;
        match released {
            Ok(true) => None,
            Ok(false) => Some(End::TakenOver(String::new())),
            Err(ended) => {
                if !output.quiet {
                    let path = shown(&self.lease.path);
                    print::note(&format!("the lease {path} was not given back, it runs out: {}", ended.error()));
                }
                None
            }
        }
    }
}

/// How often a lease of this duration is renewed.
fn pace(duration: Duration) -> Pace {
    Pace {
        renew_deadline: RENEW_DEADLINE.min(duration / DEADLINES_OF_DURATION),
        retry_period: RETRY_PERIOD.min(duration / PERIODS_OF_DURATION),
        release_on_cancel: false,
    }
}

/// Tells of a renewal that is late. The code that ends the command tells of a loss.
fn teller(path: &str, output: OutputOptions) -> impl Fn(&str, News) + Send + Sync + 'static {
    let path = shown(path);
    move |_, news| match news {
        News::Late(why) if !output.quiet => {
            let why = why.map(|why| format!(": {}", shown(&why))).unwrap_or_default();
            print::note(&format!("no renewal of the lease {path} is acknowledged, and it is tried on{why}"));
        }
        _ => {}
    }
}

fn text_of(end: &End) -> String {
    match end {
        End::TakenOver(by) if !by.is_empty() => format!("{} holds it", shown(by)),
        end => end.text().to_owned(),
    }
}

/// Take a lease for an owner, and leave it to run out
///
/// This command does not renew the lease; another `lease lock` of the same owner does. Prints the fencing token, and
/// until when the lease is held.
#[derive(Args, Debug)]
struct Lock {
    #[command(flatten)]
    lease: Wanted,
}

impl Lock {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let claim = self.lease.claim(calls, true)?;
        let Some(taken) = self.lease.take(calls, claim, output).await? else {
            if output.form() == Form::Json {
                print::json(&json!(null));
            }
            return Ok(self.lease.was_not_free(output, ""));
        };
        let left = taken.sent.after(taken.claim.duration).since(Moment::now());
        // No lease is longer than a century, so this sum does not overflow.
        let until = humantime::format_rfc3339_seconds(SystemTime::now() + left).to_string();
        match output.form() {
            Form::Json => print::json(&json!({
                "path": calls.settings().shown(&taken.claim.path),
                "owner": taken.claim.owner,
                "token": taken.token,
                "until": until,
                "left": left.as_secs_f64(),
                "transitions": taken.transitions,
                "taken_from": taken.from,
                "is_new": taken.is_new,
            })),
            Form::Text => {
                let renewed = if taken.is_new { "" } else { ", renewed" };
                print::answer(&format!("token {}, until {until} by this host's clock{renewed}", taken.token));
            }
        }
        Ok(Status::DONE)
    }
}

/// Give the lease of an owner back
///
/// It does not matter which process has taken the lease in that name. The status is 1 where the owner does not hold it.
#[derive(Args, Debug)]
struct Unlock {
    /// The lease
    path: String,
    /// Who holds it; default: the host's name
    #[arg(long, value_name = "NAME", conflicts_with = "force")]
    owner: Option<String>,
    /// Take it away from whoever holds it, who may be acting still
    #[arg(long)]
    force: bool,
}

impl Unlock {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = lease_path(calls.settings(), &self.path)?;
        let owner = named(self.owner.unwrap_or_else(arguments::host_name))?;
        let whose = if self.force { Whose::Anybody } else { Whose::Owner(&owner) };
        let release = |client: Client, budget| async move {
            let acl = client.settings().acl.clone();
            timed_lease::release(&client, &whose, &path, &acl, None, &budget).await
        };
        let released = calls.change(release).await?;
        match (output.form(), &released) {
            (Form::Json, released) => print::json(released),
            (Form::Text, Some(holder)) if self.force => print::answer(&shown(holder)),
            (Form::Text, _) => {}
        }
        Ok(if released.is_some() { Status::DONE } else { Status::NO })
    }
}

/// Show who holds a lease since when and until when, and who waits
#[derive(Args, Debug)]
struct StatusOf {
    /// The lease
    path: String,
}

impl StatusOf {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = lease_path(calls.settings(), &self.path)?;
        let mut status =
            calls.ask(|client, budget| async move { timed_lease::status(&client, &path, &budget).await }).await?;
        status.path = calls.settings().shown(&status.path);
        match output.form() {
            Form::Json => print::json(&status),
            Form::Text => print::answer(&text(&status)),
        }
        Ok(Status::DONE)
    }
}

fn text(status: &timed_lease::Status) -> String {
    let (waiting, path) = (status.waiters.len(), shown(&status.path));
    let mut text = match &status.holder {
        None => format!("{path}: nobody holds it, {waiting} waiting"),
        Some(holder) => format!("{path}: {} holds it, {}, {waiting} waiting", shown(&holder.owner), left(holder.left)),
    };
    if let Some(holder) = &status.holder {
        let rows = vec![row(holder, status.transitions)];
        text += "\n";
        text += &print::table(&["holder", "since", "renewed", "until (servers)", "changes", "fencing token"], rows);
    }
    if !status.waiters.is_empty() {
        let rows = status.waiters.iter().map(|waiter| {
            vec![print::ordinal(waiter.position), shown(&waiter.owner), waiter.since.clone(), age(waiter.age)]
        });
        text += "\n";
        text += &print::table(&["position", "waiter", "since", "for"], rows);
    }
    text
}

fn row(holder: &timed_lease::Holder, transitions: i64) -> Vec<String> {
    let acquired = holder.acquired.as_deref().map(shown).unwrap_or_default();
    let token = holder.fencing_token.map(|token| token.to_string()).unwrap_or_default();
    vec![shown(&holder.owner), acquired, holder.renewed.clone(), holder.until.clone(), transitions.to_string(), token]
}

fn left(seconds: f64) -> String {
    if seconds > 0.0 {
        format!("{} left", age(seconds))
    } else {
        format!("over since {}", age(-seconds))
    }
}

/// Show the leases right below a path: who holds each, until when, and how many wait
#[derive(Args, Debug)]
struct List {
    /// The path, such as /leases/prod
    path: String,
}

impl List {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = calls.settings().any_path(&self.path)?;
        let mut leases =
            calls.ask(|client, budget| async move { timed_lease::below(&client, &path, &budget).await }).await?;
        for lease in &mut leases {
            lease.path = calls.settings().shown(&lease.path);
        }
        match output.form() {
            Form::Json => print::json(&leases),
            Form::Text if leases.is_empty() => print::answer("no leases"),
            Form::Text => {
                let rows = leases.iter().map(|lease| {
                    let (path, waiting) = (shown(&lease.path), lease.waiting.to_string());
                    let transitions = lease.transitions.to_string();
                    match &lease.holder {
                        None => vec![path, "nobody".into(), String::new(), String::new(), transitions, waiting],
                        Some(it) => {
                            vec![path, shown(&it.owner), it.until.clone(), left(it.left), transitions, waiting]
                        }
                    }
                });
                let head = ["lease", "holder", "until (servers)", "left", "changes", "waiting"];
                print::answer(&print::table(&head, rows));
            }
        }
        Ok(Status::DONE)
    }
}
