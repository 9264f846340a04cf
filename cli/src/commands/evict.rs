//! `evict`: the slot of an identifier is taken away, and everybody can see by whom.

use clap::Args;
use zkcoord::recipe::semaphore::{self, Claim, Eviction};

use crate::arguments::OutputOptions;
use crate::call::{Answer, Calls};
use crate::print::{self, shown, Form};
use crate::status::Status;

/// Where the name of the user stands who has called this program. The first one names who has called sudo.
const USER: [&str; 3] = ["SUDO_USER", "LOGNAME", "USER"];

/// Take the slot of an identifier away, whoever holds it, and say who did it and why
///
/// All leases of the identifier are deleted, those of living processes as well. A holder that watches its slot is told
/// at once, and learns who has taken it away. The status is 1 where the identifier held no slot.
#[derive(Args, Debug)]
pub(crate) struct Evict {
    /// The pool
    path: String,
    /// Whose slot
    id: String,
    /// Why. It is kept beside the pool for a day, with the host, the process and the user
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who takes it away; default: the user
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// What this is done for, such as the number of a ticket; kept beside the reason
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
}

impl Evict {
    pub(crate) async fn run(self, calls: &mut Calls, output: OutputOptions) -> Answer<Status> {
        let claim = Claim::new(calls.settings(), &self.path, self.id, None, false)?;
        let by = self.by.or_else(|| USER.iter().find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty())));
        let eviction = Eviction::new(by, self.reason, self.job)?;
        let change = |client, budget| async move { semaphore::evict(&client, &claim, &eviction, &budget).await };
        let evicted = calls.change(change).await?;
        match output.form() {
            Form::Json => print::json(&evicted),
            Form::Text if evicted.leases.is_empty() => {
                print::answer(&format!("{} holds no slot of {}", shown(&evicted.identifier), shown(&evicted.path)));
            }
            Form::Text => {
                let leases = evicted.leases.join(", ");
                let (path, who) = (shown(&evicted.path), shown(&evicted.identifier));
                print::answer(&format!("{who} has no slot of {path} any more: {leases} deleted"));
            }
        }
        Ok(if evicted.leases.is_empty() { Status::NO } else { Status::DONE })
    }
}
