//! `lock`, `unlock`, `holders`, `status`, `set-max`, `remove-pool`: slots by identifier, and who has them.

use std::num::NonZeroU32;

use clap::Args;
use zkcoord::connect::settings::Settings;
use zkcoord::recipe::semaphore::{self, Acquired, Claim, Reason};
use zkcoord::wait::deadline::Timeout;

use crate::arguments::{self, Limit, OutputOptions};
use crate::call::{Answer, Calls};
use crate::commands::live;
use crate::print::{self, age, shown, Form};
use crate::progress;
use crate::status::Status;

/// How many pools are named that have the same parent as a path at which there is no pool.
const MOST_NEIGHBOURS: usize = 10;

/// Which pool, and how long to wait for a slot of it.
#[derive(Args, Debug)]
pub(crate) struct Wanted {
    /// The pool, such as /restart/web. It is made when it is missing
    pub(crate) path: String,
    /// How many may hold a slot; all must say the same. "stored": whatever number the pool has, which has to be there
    #[arg(short = 'n', long = "max", default_value = "1", value_name = "N", value_parser = arguments::limit)]
    pub(crate) limit: Limit,
    /// How long to wait for a slot; 0 tries once; without it for ever
    #[arg(short, long, value_name = "TIME", value_parser = arguments::timeout)]
    timeout: Option<Timeout>,
    /// Why the slot is wanted. It is kept beside the lease with the host and the process, for whoever asks who is in the way
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// What the process works for, such as the number of a build; kept beside the reason
    #[arg(long, value_name = "JOB", requires = "reason")]
    job: Option<String>,
}

impl Wanted {
    pub(crate) fn timeout(&self) -> Timeout {
        self.timeout.unwrap_or(Timeout::Forever)
    }

    /// The claim on a slot, and why.
    pub(crate) fn claim(&self, settings: &Settings, identifier: String, ephemeral: bool) -> Answer<Claim> {
        let reason = self.reason.clone().map(|reason| Reason::new(reason, self.job.clone())).transpose()?;
        Ok(Claim::new(settings, &self.path, identifier, self.limit.0, ephemeral)?.because(reason))
    }
}

/// Take a slot for an identifier, and keep it until it is unlocked
///
/// The slot stays when this command has ended, and after a reboot. Whoever holds one already is answered at once.
#[derive(Args, Debug)]
pub(crate) struct Lock {
    #[command(flatten)]
    slot: Wanted,
    /// Who holds the slot; default: the host's name
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Take a slot at once, whatever the limit and whoever waits
    #[arg(long)]
    force: bool,
}

impl Lock {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let identifier = self.id.unwrap_or_else(arguments::host_name);
        let claim = self.slot.claim(calls.settings(), identifier, false)?;
        let force = self.force;
        let (sender, positions) = tokio::sync::watch::channel(0);
        let telling = progress::tell(progress::manner(output), calls.client(), claim.pool.clone(), positions);
        let locking = calls.wait(self.slot.timeout(), |client, budget| async move {
            if force {
                semaphore::force(&client, claim, &budget).await
            } else {
                semaphore::acquire(&client, claim, &budget, Some(sender)).await
            }
        });
        let acquired = progress::beside(telling, locking).await?;
        Ok(print::yes_or_no(!matches!(acquired, Acquired::No), output.form()))
    }
}

/// Give the slot of an identifier back
#[derive(Args, Debug)]
pub(crate) struct Unlock {
    /// The pool
    path: String,
    /// Whose slot; default: the host's name
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl Unlock {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let identifier = self.id.unwrap_or_else(arguments::host_name);
        let claim = Claim::new(calls.settings(), &self.path, identifier, None, false)?;
        let change = |client, budget| async move { semaphore::unlock(&client, &claim, &budget).await };
        Ok(print::yes_or_no(calls.change(change).await?, output.form()))
    }
}

/// Print who holds a slot, one a line
#[derive(Args, Debug)]
pub(crate) struct Holders {
    /// The pool
    path: String,
}

impl Holders {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let pool = calls.settings().path(&self.path)?;
        let mut holders =
            calls.ask(|client, budget| async move { semaphore::holders(&client, &pool, &budget).await }).await?;
        holders.sort();
        match output.form() {
            Form::Json => print::json(&holders),
            Form::Text => holders.iter().for_each(|holder| print::answer(&shown(holder))),
        }
        Ok(Status::DONE)
    }
}

/// Show who holds a slot since when, and who waits
#[derive(Args, Debug)]
pub(crate) struct StatusOf {
    /// The pool
    path: String,
    /// Show it on the whole terminal, and again whenever it changes; q ends it
    #[arg(short, long)]
    watch: bool,
}

impl StatusOf {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let pool = calls.settings().path(&self.path)?;
        if self.watch {
            return live::view(calls, pool, output).await;
        }
        let (status, neighbours) = calls
            .ask(|client, budget| async move {
                let status = semaphore::status(&client, &pool, &budget).await?;
                let is_there = status.exists || !status.waiters.is_empty();
                // A user who may not list the parent gets the answer all the same, without neighbours.
                let neighbours = match output.form() {
                    Form::Text if !is_there => semaphore::neighbours(&client, &pool, &budget).await.ok().flatten(),
                    _ => None,
                };
                Ok((status, neighbours))
            })
            .await?;
        match (output.form(), neighbours) {
            (Form::Json, _) => print::json(&status),
            (Form::Text, None) => print::answer(&text(&status)),
            (Form::Text, Some(pools)) => print::answer(&missing(calls, &status.path, &pools)),
        }
        Ok(Status::DONE)
    }
}

/// Says that there is no pool at a path, and which pools are beside it.
fn missing(calls: &Calls, path: &str, pools: &[String]) -> String {
    let named = |path: &str| shown(&calls.settings().shown(path));
    let there: Vec<_> = pools.iter().take(MOST_NEIGHBOURS).map(|pool| named(pool)).collect();
    let more = if pools.len() > there.len() { ", ..." } else { "" };
    let there = if there.is_empty() { String::new() } else { format!("; pools beside it: {}{more}", there.join(", ")) };
    format!("no pool at {}{there}", named(path))
}

/// A pool, for people.
pub(crate) fn text(status: &semaphore::Status) -> String {
    let (held, waiting) = (status.holders.len(), status.waiters.len());
    let slots = match status.max_concurrency {
        Some(limit) => format!("{held} of {limit} slots held"),
        None if held + waiting == 0 => "no limit is stored, and nobody has asked for a slot".to_owned(),
        None => format!("{held} slots held, no limit is stored"),
    };
    let mut text = format!("{}: {slots}, {waiting} waiting", shown(&status.path));
    let mut rows = Vec::new();
    let is_explained = status.holders.iter().any(|holder| holder.why != Reason::default());
    for holder in &status.holders {
        let kind = if holder.ephemeral { "holds, until its session ends" } else { "holds, until it is unlocked" };
        let (who, token) = (shown(&holder.identifier), format!("{}", holder.fencing_token));
        let mut row = vec![who, kind.to_owned(), holder.since.clone(), age(holder.age), token];
        if is_explained {
            row.push(print::why(&holder.why));
        }
        rows.push(row);
    }
    for waiter in &status.waiters {
        let mut kind = format!("waits, {}", print::ordinal(waiter.position));
        if waiter.orphan {
            kind += ": of no session, it blocks those behind it";
        }
        let mut row = vec![shown(&waiter.identifier), kind, waiter.since.clone(), age(waiter.age), String::new()];
        if is_explained {
            row.push(String::new());
        }
        rows.push(row);
    }
    if !rows.is_empty() {
        text += "\n";
        let headers = ["who", "what", "since", "for", "fencing token", "why"];
        text += &print::table(if is_explained { &headers } else { &headers[..5] }, rows);
    }
    text
}

/// Change how many may hold a slot
///
/// Waiters see the new number at once, and nobody who holds a slot loses it.
#[derive(Args, Debug)]
pub(crate) struct SetMax {
    /// The pool
    path: String,
    /// How many may hold a slot
    number: NonZeroU32,
}

impl SetMax {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let claim = Claim::new(calls.settings(), &self.path, String::new(), None, false)?;
        let number = self.number.get();
        let setting = |client, budget| async move { semaphore::set_max(&client, &claim, number, &budget).await };
        let change = calls.change(setting).await?;
        match output.form() {
            Form::Json => print::json(&change),
            Form::Text => {
                let old = change.old.map_or_else(|| "none".to_owned(), |old| old.to_string());
                let over = match change.overshoot {
                    0 => String::new(),
                    over => format!("; {over} more hold a slot than that, until they give it back"),
                };
                print::answer(&format!("{}: {old} -> {}{over}", shown(&change.path), change.new));
            }
        }
        Ok(Status::DONE)
    }
}

/// Remove a pool that nobody uses, with its limit
///
/// While somebody holds a slot or waits for one nothing is removed, and the status is 1. Whoever locks after the
/// removal makes the pool anew.
#[derive(Args, Debug)]
pub(crate) struct RemovePool {
    /// The pool
    path: String,
}

impl RemovePool {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let pool = calls.settings().path(&self.path)?;
        let change = |client, budget| async move { semaphore::remove_pool(&client, &pool, &budget).await };
        Ok(print::yes_or_no(calls.change(change).await?, output.form()))
    }
}
