//! Which lines of the log are kept for Python, and by which process.

use log::{LevelFilter, Log, Metadata, Record};

use super::runtime::Process;

static FORWARDER: Forwarder = Forwarder;

/// Keeps what the core logs, and nothing of the libraries that it uses.
struct Forwarder;

impl Log for Forwarder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("zkcoord")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // A child that was forked off has none until it calls.
        let Some(process) = Process::existing() else { return };
        process.journal.keep(record);
    }

    fn flush(&self) {}
}

/// From here on lines are kept.
pub(super) fn begin() {
    if log::set_logger(&FORWARDER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
