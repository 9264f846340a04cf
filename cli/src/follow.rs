//! Commands that go on until a signal, the end of the time, or a closed pipe ends them; and what they say in an outage.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use zkcoord::client::Client;
use zkcoord::wait::deadline::Timeout;
use zkcoord::wait::Budget;
use zkcoord::Result;

use crate::arguments::OutputOptions;
use crate::call::{Answer, Calls, Ended};
use crate::print::{self, shown};
use crate::status::Status;

/// How often this program asks itself whether it has a connection.
const TICK: Duration = Duration::from_secs(1);
/// So many ticks without a connection are an outage. The restart of one server is none.
const TICKS: u32 = 3;

/// Hands what is followed to `tell`, until that has a status, the time is up (`at_end`), a signal comes, or nobody reads
/// standard output any more.
pub(crate) async fn follow<T, F>(
    calls: &mut Calls,
    output: OutputOptions,
    (timeout, at_end): (Timeout, Status),
    work: impl FnOnce(Client, Budget, UnboundedSender<T>) -> F,
    mut tell: impl FnMut(T) -> Option<Status>,
) -> Answer<Status>
where
    F: Future<Output = Result<()>>,
{
    let client = calls.client();
    let (sender, mut news) = mpsc::unbounded_channel();
    let following = calls.wait(timeout, |client, budget| work(client, budget, sender));
    let telling = async {
        let mut outage = Outage::default();
        loop {
            match tokio::time::timeout(TICK, news.recv()).await {
                Ok(Some(one)) => {
                    outage.is_over();
                    if let Some(status) = tell(one) {
                        return status;
                    }
                }
                Ok(None) => std::future::pending().await,
                Err(_) => outage.observe(&client, output),
            }
        }
    };
    tokio::select! {
        biased;
        status = telling => Ok(status),
        ended = following => match ended {
            Ok(()) => Ok(at_end),
            // Whoever has sent the signal knows of it: there is no error to print.
            Err(Ended::Signalled(number, _)) => Ok(Status::signal(number)),
            Err(ended) => Err(ended),
        },
        () = print::unread() => Ok(Status::DONE),
    }
}

/// Tells once that no server answers, and once that one does again.
#[derive(Default)]
struct Outage {
    ticks: u32,
    is_reported: bool,
}

impl Outage {
    fn observe(&mut self, client: &Client, output: OutputOptions) {
        match client.outage() {
            None => self.is_over(),
            Some(reason) => {
                self.ticks += 1;
                if self.ticks >= TICKS && !self.is_reported {
                    self.is_reported = true;
                    if !output.quiet {
                        print::note(&format!("no server answers, and changes are waited for: {}", shown(&reason)));
                    }
                }
            }
        }
    }

    fn is_over(&mut self) {
        self.ticks = 0;
        if std::mem::take(&mut self.is_reported) {
            print::note("a server answers again");
        }
    }
}
