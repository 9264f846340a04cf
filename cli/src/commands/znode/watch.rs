//! `znode watch`: a line for each change of a znode.

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;
use zkcoord::wait::deadline::Timeout;
use zkcoord::znode::follow::{self, Change, Snapshot};

use crate::arguments::{self, OutputOptions};
use crate::call::{Answer, Calls};
use crate::follow::follow;
use crate::print::{self, shown, Form};
use crate::status::Status;

/// Print a line for each change of a znode: of its data or children, its coming and going
///
/// The command goes on until a signal ends it, the time is up, or nobody reads its output any more. It waits through an
/// outage of the servers. Changes that come close together may be printed as one, and changes of an ACL are not seen.
/// The znode need not exist yet.
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// The znode
    path: String,
    /// How long to watch; without it for ever
    #[arg(short, long, value_name = "TIME", value_parser = arguments::timeout)]
    timeout: Option<Timeout>,
    /// End with the first change; the status is 1 where there was none in time
    #[arg(short = '1', long)]
    once: bool,
}

/// A line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    path: &'a str,
    #[serde(flatten)]
    change: &'a Change,
}

impl Watch {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let full = calls.settings().any_path(&self.path)?;
        let path = calls.settings().shown(&full);
        let at_end = if self.once { Status::NO } else { Status::DONE };
        let limit = (self.timeout.unwrap_or(Timeout::Forever), at_end);
        let work = |client, budget, sender: UnboundedSender<Option<Snapshot>>| async move {
            follow::follow(&client, &full, &budget, |snapshot| drop(sender.send(snapshot))).await
        };
        let mut last: Option<Option<Snapshot>> = None;
        let tell = |snapshot: Option<Snapshot>| {
            let time = print::now();
            let changes = match &last {
                Some(before) => follow::changes(before.as_ref(), snapshot.as_ref()),
                None => {
                    if output.verbose > 0 {
                        let is_there = if snapshot.is_some() { "is there" } else { "is not there yet" };
                        print::note(&format!("{} {is_there}", shown(&path)));
                    }
                    Vec::new()
                }
            };
            last = Some(snapshot);
            let is_read = changes.iter().all(|change| match output.form() {
                Form::Text => print::line(&format!("{time} {}", text(change))),
                Form::Json => print::json_line(&Line { time: &time, path: &path, change }),
            });
            (!is_read || (self.once && !changes.is_empty())).then_some(Status::DONE)
        };
        follow(calls, output, limit, work, tell).await
    }
}

/// A change, for people.
fn text(change: &Change) -> String {
    match change {
        Change::Created { stat } => format!("created    {}, version {}, {} bytes", stat.kind, stat.version, stat.bytes),
        Change::Deleted => "deleted".to_owned(),
        Change::Written { stat } => format!("written    version {}, {} bytes", stat.version, stat.bytes),
        Change::ChildCreated { child } => format!("child      + {}", shown(child)),
        Change::ChildDeleted { child } => format!("child      - {}", shown(child)),
    }
}
