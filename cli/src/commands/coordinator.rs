//! `coordinator`: ask now, be granted later.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::{json, Value};
use zkcoord::recipe::coordinator::document::Asked;
use zkcoord::recipe::coordinator::policy::Policy;
use zkcoord::recipe::coordinator::{self, Acquired, Ask, Effects, Home, Queue};

use crate::arguments::{self, OutputOptions};
use crate::call::{Answer, Calls};
use crate::print::{self, age, held_by, ordinal, shown, Form};
use crate::status::Status;

/// Locks that are asked for now and granted later: requests outlive this command
///
/// A unit, such as a host, asks for a lock and goes on. In a later run it finds that it was granted, acts, and gives the
/// lock back. Nobody waits: the position in the queue is remembered, also through a reboot.
#[derive(Args, Debug)]
pub(crate) struct Coordinator {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Acquire(Acquire),
    Queue(QueueOf),
    Release(Release),
    Grant(Grant),
    Revoke(Revoke),
}

impl Coordinator {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        match self.command {
            Command::Acquire(acquire) => acquire.run(calls, output).await,
            Command::Queue(queue) => queue.run(calls, output).await,
            Command::Release(release) => release.run(calls, output).await,
            Command::Grant(grant) => grant.run(calls, output).await,
            Command::Revoke(revoke) => revoke.run(calls, output).await,
        }
    }
}

/// Which coordinator. The defaults are those of the Salt module.
#[derive(Args, Debug)]
struct Which {
    /// Which coordinator it is: locks of different keys are different locks
    #[arg(long, default_value = "salt", value_name = "KEY")]
    key: String,
    /// The znode below which the coordinators are
    #[arg(long, default_value = "/coordinator", value_name = "PATH")]
    root: String,
}

impl Which {
    fn home(&self, calls: &Calls) -> zkcoord::Result<Home> {
        Home::new(calls.settings(), &self.root, &self.key)
    }
}

/// Ask for a lock, unless the unit has asked before; the status is 0 when it is granted, 1 while the request waits
#[derive(Args, Debug)]
struct Acquire {
    /// The lock, such as restart
    lock: String,
    /// Who asks; default: the host's name
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,
    #[command(flatten)]
    which: Which,
    /// How many may be granted it at a time, and when: serial, or JSON such as {"max": 2, "per": {"rack": 1}}; all must
    /// say the same
    #[arg(long, default_value = "serial", value_name = "POLICY", value_parser = policy)]
    policy: Policy,
    /// Why, for those who see the queue
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// A label that the policy may count by; may be given more than once
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// After what time others may drop the request, or the grant, of a unit that was not seen meanwhile
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    expires: Option<Duration>,
}

fn policy(text: &str) -> Result<Policy, String> {
    Policy::parse(&Value::String(text.to_owned())).map_err(|error| error.to_string())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Acquire {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let lock = self.which.home(calls)?.lock(&self.lock)?;
        let asked = Asked {
            asked: Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
            reason: self.reason.filter(|reason| !reason.is_empty()),
            labels: self.labels.into_iter().collect(),
            expires: self.expires.map(|time| time.as_secs_f64()),
        };
        let ask = Ask { unit: self.unit.unwrap_or_else(arguments::host_name), policy: self.policy, asked };
        let acquire = |client, budget| async move { coordinator::acquire(&client, &lock, &ask, &budget).await };
        let acquired = calls.change(acquire).await?;
        match output.form() {
            Form::Json => print::json(&acquired),
            Form::Text => print::answer(&standing(&self.lock, &acquired)),
        }
        Ok(if acquired.granted { Status::DONE } else { Status::NO })
    }
}

/// `restart: queued 2nd of 3, held by web1 since 2026-11-26T12:04:00Z`.
fn standing(lock: &str, acquired: &Acquired) -> String {
    let lock = shown(lock);
    let Some(position) = acquired.position else {
        let token = acquired.token.map(|token| format!(", token {token}")).unwrap_or_default();
        return format!("{lock}: granted{token}");
    };
    let held = held_by(acquired.holders.iter().map(|(holder, since)| {
        let since = since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
        format!("{}{since}", shown(holder))
    }));
    format!("{lock}: queued {} of {}{held}", ordinal(position), acquired.waiting.max(position))
}

/// Show who is granted a lock, and who waits for it; without a lock, of all locks
#[derive(Args, Debug)]
struct QueueOf {
    /// The lock
    lock: Option<String>,
    #[command(flatten)]
    which: Which,
}

impl QueueOf {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let home = self.which.home(calls)?;
        let names = match &self.lock {
            Some(lock) => vec![lock.clone()],
            None => {
                let home = home.clone();
                calls.ask(|client, budget| async move { coordinator::locks(&client, &home, &budget).await }).await?
            }
        };
        let mut queues = Vec::new();
        for name in names {
            let lock = home.lock(&name)?;
            let queue = |client, budget| async move { coordinator::queue(&client, &lock, &budget).await };
            queues.push(calls.ask(queue).await?);
        }
        match (output.form(), queues.first()) {
            (Form::Json, Some(queue)) if self.lock.is_some() => print::json(queue),
            (Form::Json, _) => print::json(&queues),
            (Form::Text, None) => print::answer("nobody has asked for any lock"),
            (Form::Text, Some(_)) => queues.iter().for_each(|queue| print::answer(&text(queue))),
        }
        Ok(Status::DONE)
    }
}

fn text(queue: &Queue) -> String {
    let lock = shown(&queue.lock);
    let Some(rule) = &queue.rule else { return format!("{lock}: nobody has asked for it") };
    let opens = queue.opens.as_ref().map(|opens| format!(", may be granted from {opens} on")).unwrap_or_default();
    let (granted, waiting) = (queue.holders.len(), queue.waiters.len());
    let mut text = format!("{lock}: {}, {granted} granted, {waiting} waiting{opens}", shown(rule));
    if granted > 0 {
        let rows = queue.holders.iter().map(|it| {
            let since = it.granted.clone().unwrap_or_default();
            let token = it.token.map(|token| token.to_string()).unwrap_or_default();
            let by = it.by.as_deref().map(shown).unwrap_or_default();
            let reasons = reasons([&it.stated.reason, &it.granted_because]);
            vec![shown(&it.unit), age(it.age), since, labels(&it.stated), by, token, reasons]
        });
        text += "\n";
        text += &print::table(&["granted", "for", "since", "labels", "by", "fencing token", "reason"], rows);
    }
    if waiting > 0 {
        let rows = queue.waiters.iter().map(|it| {
            let reasons = reasons([&it.stated.reason, &it.hopeless]);
            let (position, labels) = (ordinal(it.position), labels(&it.stated));
            vec![position, shown(&it.unit), age(it.age), it.since.clone(), labels, reasons]
        });
        text += "\n";
        text += &print::table(&["position", "waiting", "for", "since", "labels", "reason"], rows);
    }
    text
}

fn labels(stated: &coordinator::Stated) -> String {
    let labels: Vec<_> = stated.labels.iter().map(|(name, value)| shown(&format!("{name}={value}"))).collect();
    labels.join(", ")
}

fn reasons(reasons: [&Option<String>; 2]) -> String {
    reasons.into_iter().flatten().map(|reason| shown(reason)).collect::<Vec<_>>().join("; ")
}

/// Give a lock back, or withdraw a request; the next unit is granted the lock in the same transaction
///
/// The status is 1 where the unit has no request.
#[derive(Args, Debug)]
struct Release {
    /// The lock
    lock: String,
    /// Whose lock, or request, it is; default: the host's name
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,
    #[command(flatten)]
    which: Which,
}

impl Release {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let unit = self.unit.unwrap_or_else(arguments::host_name);
        let by = unit.clone();
        released(calls, output, &self.which, &self.lock, unit, by).await
    }
}

async fn released(
    calls: &mut Calls,
    output: OutputOptions,
    which: &Which,
    lock: &str,
    unit: String,
    by: String,
) -> Answer<Status> {
    let name = shown(lock);
    let lock = which.home(calls)?.lock(lock)?;
    let about = shown(&unit);
    let release = |client, budget| async move { coordinator::release(&client, &lock, &unit, None, &by, &budget).await };
    let released = calls.change(release).await?;
    match output.form() {
        Form::Json => print::json(&released),
        Form::Text if !released.requested => print::answer(&format!("{name}: {about} has no request")),
        Form::Text => {
            let what = if released.granted { "the grant" } else { "the request" };
            print::answer(&format!("{name}: {what} of {about} is gone{}", next(&released.effects)));
        }
    }
    Ok(if released.requested { Status::DONE } else { Status::NO })
}

/// Tells who was granted the lock by a change, for the end of a sentence.
fn next(effects: &Effects) -> String {
    if effects.granted.is_empty() {
        return String::new();
    }
    let units: Vec<_> = effects.granted.iter().map(|unit| shown(unit)).collect();
    format!("; granted to {}", units.join(", "))
}

/// An operator's decision: about whom, and who decides.
#[derive(Args, Debug)]
struct Decision {
    /// The lock
    lock: String,
    /// The unit that has asked for it
    unit: String,
    #[command(flatten)]
    which: Which,
    /// Who decides; default: operator on this host
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Decision {
    fn by(&self) -> String {
        self.by.clone().unwrap_or_else(|| format!("operator on {}", arguments::host_name()))
    }
}

/// Grant a lock to a unit that has asked for it, whatever the policy says
///
/// An operator's decision. The status is 1 where the unit was granted the lock already.
#[derive(Args, Debug)]
struct Grant {
    #[command(flatten)]
    decision: Decision,
    /// Why, for those who see the queue
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Grant {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let Decision { lock: name, unit, which, .. } = &self.decision;
        let lock = which.home(calls)?.lock(name)?;
        let (by, to, reason) = (self.decision.by(), unit.clone(), self.reason.clone());
        let grant = |client, budget| async move {
            coordinator::grant(&client, &lock, &to, &by, reason.as_deref(), &budget).await
        };
        let granted = calls.change(grant).await?;
        match (output.form(), &granted) {
            (Form::Json, granted) => print::json(&json!(granted.is_some())),
            (Form::Text, Some(_)) => print::answer(&format!("{}: granted to {}", shown(name), shown(unit))),
            (Form::Text, None) => {
                print::answer(&format!("{}: was granted to {} already", shown(name), shown(unit)));
            }
        }
        Ok(if granted.is_some() { Status::DONE } else { Status::NO })
    }
}

/// Take a grant, or a request, away from a unit
///
/// An operator's decision: make sure first that the unit does not act any more. The status is 1 where the unit has no
/// request.
#[derive(Args, Debug)]
struct Revoke {
    #[command(flatten)]
    decision: Decision,
}

impl Revoke {
    async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let by = self.decision.by();
        let Decision { lock, unit, which, .. } = self.decision;
        released(calls, output, &which, &lock, unit, by).await
    }
}
