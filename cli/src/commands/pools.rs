//! `pools`: which pools there are.

use clap::Args;
use zkcoord::recipe::semaphore::{self, Listed};

use crate::arguments::OutputOptions;
use crate::call::{Answer, Calls};
use crate::print::{self, shown, Form};
use crate::status::Status;

/// List the pools below a znode, with how many slots are held and how many wait
///
/// A pool is a znode beside which there is a queue: somebody has asked for a slot of it.
#[derive(Args, Debug)]
pub(crate) struct Pools {
    /// The znode below which to look
    #[arg(default_value = "/")]
    root: String,
}

impl Pools {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let root = calls.settings().any_path(&self.root)?;
        let mut found =
            calls.ask(|client, budget| async move { semaphore::pools(&client, &root, &budget).await }).await?;
        semaphore::below_chroot(&mut found, calls.settings());
        match output.form() {
            Form::Json => print::json(&found),
            Form::Text if found.is_empty() => {}
            Form::Text => print::answer(&print::table(&["pool", "held", "slots", "waiting"], found.iter().map(row))),
        }
        Ok(Status::DONE)
    }
}

/// A row of the table. What this user may not read is a question mark.
fn row(pool: &Listed) -> Vec<String> {
    let number = |number: Option<usize>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let slots = pool.max_concurrency.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    vec![shown(&pool.path), number(pool.held), slots, number(pool.waiting)]
}
