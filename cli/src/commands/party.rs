//! `party`: who is present, and waiting until there are enough; `party-join` and `party-leave`.

use clap::Args;
use zkcoord::recipe::party::{self, Joining};
use zkcoord::wait::deadline::Timeout;

use crate::arguments::{self, OutputOptions};
use crate::call::{Answer, Calls};
use crate::print::{self, shown, Form};
use crate::status::Status;

/// Print the members of a party, one a line
#[derive(Args, Debug)]
pub(crate) struct Party {
    /// The party, such as /workers
    path: String,
    /// Wait until the party has so many members; the status is 1 where it has fewer when the time is up
    #[arg(short, long, value_name = "N")]
    min: Option<usize>,
    /// How long to wait for the members; 0 looks once; without it for ever
    #[arg(short, long, value_name = "TIME", value_parser = arguments::timeout, requires = "min")]
    timeout: Option<Timeout>,
}

impl Party {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let path = calls.settings().path(&self.path)?;
        let timeout = self.timeout.unwrap_or(Timeout::Forever);
        let mut members = match self.min {
            None => calls.ask(|client, budget| async move { party::members(&client, &path, &budget).await }).await?,
            Some(enough) => {
                let wait = |client, budget| async move { party::gather(&client, &path, enough, &budget).await };
                calls.wait(timeout, wait).await?
            }
        };
        members.sort();
        match output.form() {
            Form::Json => print::json(&members),
            Form::Text => members.iter().for_each(|member| print::answer(&shown(member))),
        }
        Ok(if self.min.is_some_and(|enough| members.len() < enough) { Status::NO } else { Status::DONE })
    }
}

/// Make an identifier a member of a party, until `party-leave`
///
/// The member stays when this command has ended, and after a reboot. Kazoo lists it. To join again changes nothing.
#[derive(Args, Debug)]
pub(crate) struct Join {
    /// The party. It is made when it is missing
    path: String,
    /// Who is listed; default: the host's name
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Put the identifier into the name of the member's znode, as kazoo's ShallowParty does
    #[arg(long)]
    shallow: bool,
}

impl Join {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let party = calls.settings().path(&self.path)?;
        let acl = calls.settings().acl.clone();
        let identifier = self.id.unwrap_or_else(arguments::host_name);
        let joining = Joining::new(party, identifier, self.shallow, false, acl)?;
        calls.change(|client, budget| async move { party::join(&client, &joining, false, &budget).await }).await?;
        Ok(print::yes_or_no(true, output.form()))
    }
}

/// Remove an identifier from a party: all its members, whoever has made them
#[derive(Args, Debug)]
pub(crate) struct Leave {
    /// The party
    path: String,
    /// Who leaves; default: the host's name
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl Leave {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let party = calls.settings().path(&self.path)?;
        let identifier = self.id.unwrap_or_else(arguments::host_name);
        let leave = |client, budget| async move { party::leave(&client, &party, &identifier, &budget).await };
        Ok(print::yes_or_no(calls.change(leave).await?, output.form()))
    }
}
