//! What the log says of an outage while a call waits through it.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::client::Client;

/// Shorter outages pass without a word: servers restart, and networks change.
const REPORTED_AFTER: Duration = Duration::from_secs(5);
/// How often a thread that has nothing else to wake up for asks whether there is an outage.
pub(super) const TICK: Duration = Duration::from_secs(5);

/// Tells the log once that no server answers, and once that one does again.
#[derive(Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    is_reported: bool,
}

impl Outage {
    /// Asks how the client stands, whose call waits over the znode `about`. What a handler of the log raises is the
    /// log's own affair: a wait does not end by it.
    pub(super) fn observe(&mut self, py: Python<'_>, client: &Client, about: &str) {
        let Some(reason) = client.outage() else {
            if std::mem::take(&mut self.is_reported) {
                let _ = log(py, "info", format!("a ZooKeeper server answers again, and the wait over {about} goes on"));
            }
            self.since = None;
            return;
        };
        let lasted = self.since.get_or_insert_with(Instant::now).elapsed();
        if lasted >= REPORTED_AFTER && !std::mem::replace(&mut self.is_reported, true) {
            let seconds = lasted.as_secs();
            let message =
                format!("no ZooKeeper server answers for {seconds} s, the wait over {about} goes on: {reason}");
            let _ = log(py, "warning", message);
        }
    }
}

fn log(py: Python<'_>, level: &str, message: String) -> PyResult<()> {
    let logger = py.import("logging")?.call_method1("getLogger", ("zkcoord",))?;
    logger.call_method1(level, ("%s", message)).map(drop)
}
