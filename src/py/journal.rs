//! What the core logs, on its way to Python's `logging`.
//!
//! The core logs from whichever thread runs it, while Python may be anywhere: in the middle of a wait, in another thread,
//! at its end. So a line is kept, and the next call that comes by hands it over from its own thread, where a handler of
//! the log may do what it likes. A line that had to wait for that says for how long.
//!
//! Nothing is handed over where the program has not imported `logging`: then nobody can listen.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use log::{Level, Record};
use pyo3::prelude::*;

use super::imported::Imported;

/// Lines that are kept for a program that does not call. The oldest go first.
const MOST: usize = 500;

// Of a module that is imported in any case: a fork in the middle of an import would leave that locked in the child.
static LOG: Imported = Imported::new("zkcoord._call", "log");

/// The lines that were not handed over yet.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<VecDeque<Line>>);

#[derive(Debug)]
struct Line {
    level: Level,
    text: String,
    at: Instant,
}

impl Journal {
    fn lines(&self) -> std::sync::MutexGuard<'_, VecDeque<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line.
    pub(super) fn keep(&self, record: &Record<'_>) {
        let line = Line { level: record.level(), text: record.args().to_string(), at: Instant::now() };
        let mut lines = self.lines();
        if lines.len() == MOST {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Hands the lines over, if there are any. What a handler raises that is for the caller, as that of a signal, is the
    /// error.
    pub(super) fn hand_over(&self, py: Python<'_>) -> PyResult<()> {
        let lines = std::mem::take(&mut *self.lines());
        if lines.is_empty() {
            return Ok(());
        }
        let number = |level| match level {
            Level::Error => 40,
            Level::Warn => 30,
            Level::Info => 20,
            Level::Debug | Level::Trace => 10,
        };
        let lines: Vec<(i32, String, f64)> =
            lines.into_iter().map(|line| (number(line.level), line.text, line.at.elapsed().as_secs_f64())).collect();
        LOG.get(py)?.call1((lines,)).map(drop)
    }
}
