//! `events`: a line for each change of a pool.

use clap::Args;
use serde::Serialize;
use zkcoord::recipe::semaphore::{self, events::Event};
use zkcoord::wait::deadline::Timeout;

use crate::arguments::{self, OutputOptions};
use crate::call::{Answer, Calls};
use crate::commands::pool;
use crate::follow::follow;
use crate::print::{self, ordinal, shown, Form};
use crate::status::Status;

/// Print a line for each change of a pool: slots taken and given back, waiters, the limit
///
/// The command goes on until a signal ends it, the time is up, or nobody reads its output any more. It waits through an
/// outage of the servers. The time of a line is when this program has seen the change. Of changes that come and go at
/// once, or while no server answers, only a part may be seen. The pool need not exist yet. With --verbose, standard
/// error has the state of the pool at the beginning.
#[derive(Args, Debug)]
pub(crate) struct Events {
    /// The pool, such as /restart/web
    path: String,
    /// How long to go on; without it for ever
    #[arg(short, long, value_name = "TIME", value_parser = arguments::timeout)]
    timeout: Option<Timeout>,
    /// Also a line for each waiter that moves up
    #[arg(long)]
    moves: bool,
}

/// A line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    path: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

impl Events {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let pool = calls.settings().path(&self.path)?;
        let path = calls.settings().shown(&pool);
        let mut last: Option<semaphore::Status> = None;
        let limit = (self.timeout.unwrap_or(Timeout::Forever), Status::DONE);
        let work = |client, budget, sender: tokio::sync::mpsc::UnboundedSender<_>| async move {
            semaphore::follow(&client, &pool, &budget, |status| drop(sender.send(status))).await
        };
        let tell = |status: semaphore::Status| {
            let time = print::now();
            let events = match &last {
                Some(before) => semaphore::events::events(before, &status),
                None => {
                    if output.verbose > 0 {
                        print::note(&pool::text(&status));
                    }
                    Vec::new()
                }
            };
            last = Some(status);
            let wanted = events.iter().filter(|event| self.moves || !matches!(event, Event::Moved { .. }));
            let mut wanted = wanted.map(|event| match output.form() {
                Form::Text => print::line(&format!("{time} {}", text(event))),
                Form::Json => print::json_line(&Line { time: &time, path: &path, event }),
            });
            let is_read = wanted.all(|is_read| is_read);
            (!is_read).then_some(Status::DONE)
        };
        follow(calls, output, limit, work, tell).await
    }
}

/// A change, for people.
fn text(event: &Event) -> String {
    let or_none = |limit: &Option<i64>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    match event {
        Event::PoolCreated => "created    the pool".to_owned(),
        Event::PoolDeleted => "deleted    the pool".to_owned(),
        Event::LimitChanged { old, new } => format!("limit      {} -> {}", or_none(old), or_none(new)),
        Event::Taken { identifier, fencing_token, ephemeral, .. } => {
            let until = if *ephemeral { "until its session ends" } else { "until it is unlocked" };
            format!("taken      {}  token {fencing_token}, {until}", shown(identifier))
        }
        Event::Released { identifier, fencing_token, ephemeral, .. } => {
            let how = if *ephemeral { "given back, or its session is over" } else { "given back" };
            format!("released   {}  token {fencing_token}, {how}", shown(identifier))
        }
        Event::Queued { identifier, position, .. } => {
            format!("queued     {}  {}", shown(identifier), ordinal(*position))
        }
        Event::Moved { identifier, position, from, .. } => {
            format!("moved      {}  {}, was {}", shown(identifier), ordinal(*position), ordinal(*from))
        }
        Event::LeftQueue { identifier, .. } => format!("left       {}  waits no more", shown(identifier)),
    }
}
