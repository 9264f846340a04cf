//! SIGINT, SIGTERM and SIGHUP while the main thread waits.
//!
//! Python runs signal handlers only on the main thread, and only when the thread asks for it. The handlers of a program
//! must not act in the middle of a wait: Salt's end the process from within, and a queue node would stay behind. So a
//! call takes the handlers over, and lets them act after it has undone the wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::imported::Imported;

// Not `signal`'s: that wraps every handler in an attempt to make an enum of it.
static SIGNAL: Imported = Imported::new("_signal", "signal");
static GETSIGNAL: Imported = Imported::new("_signal", "getsignal");
static RAISE_SIGNAL: Imported = Imported::new("_signal", "raise_signal");
static IGNORED: Imported = Imported::new("_signal", "SIG_IGN");
/// Those that ask a process to end. SIGHUP comes when a terminal is closed, or an SSH connection with it: without its
/// handler taken over, a waiter's queue node would stay until its session expires.
static TAKEN: [(&str, Imported); 3] = [
    ("SIGINT", Imported::new("_signal", "SIGINT")),
    ("SIGTERM", Imported::new("_signal", "SIGTERM")),
    ("SIGHUP", Imported::new("_signal", "SIGHUP")),
];
/// Setting a handler runs the pending ones of other signals first, and fails with what they raise.
const TRIES: usize = 8;

/// The handlers that a call has taken over.
pub(super) struct Signals {
    taken: Vec<Taken>,
}

struct Taken {
    name: &'static str,
    number: i32,
    old: Py<PyAny>,
    came: Arc<AtomicBool>,
}

impl Signals {
    /// Takes the handlers over, on the main thread. What is ignored stays ignored.
    pub(super) fn take_over(py: Python<'_>) -> PyResult<Self> {
        let mut signals = Self { taken: Vec::with_capacity(TAKEN.len()) };
        signals.take(py).inspect_err(|_| drop(signals.hand_back(py)))?;
        Ok(signals)
    }

    fn take(&mut self, py: Python<'_>) -> PyResult<()> {
        for (name, number) in &TAKEN {
            let number: i32 = number.get(py)?.extract()?;
            let old = GETSIGNAL.get(py)?.call1((number,))?;
            if old.is_none() || old.eq(IGNORED.get(py)?)? {
                continue;
            }
            let came = Arc::new(AtomicBool::new(false));
            let handler = handler(py, number, came.clone(), old.clone().unbind())?;
            SIGNAL.get(py)?.call1((number, handler))?;
            self.taken.push(Taken { name, number, old: old.unbind(), came });
        }
        Ok(())
    }

    /// The names of those that came.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.came().map(|taken| taken.name)
    }

    fn came(&self) -> impl Iterator<Item = &Taken> {
        self.taken.iter().filter(|taken| taken.came.load(Ordering::Acquire))
    }

    /// Whether one that came ends the process without asking Python.
    pub(super) fn end_process(&self) -> bool {
        Python::attach(|py| self.came().any(|taken| !taken.old.bind(py).is_callable()))
    }

    /// Sets the old handlers again, whatever happens; the first exception that happened.
    pub(super) fn hand_back(&self, py: Python<'_>) -> Option<PyErr> {
        let mut raised = py.check_signals().err();
        for taken in &self.taken {
            for _ in 0..TRIES {
                match SIGNAL.get(py).and_then(|signal| signal.call1((taken.number, &taken.old))) {
                    Ok(_) => break,
                    Err(error) => raised = raised.or(Some(error)),
                }
            }
        }
        raised
    }

    /// Lets the old handlers act on what came.
    pub(super) fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        for taken in self.came() {
            act(py, taken.number, &taken.old, py.None().bind(py))?;
        }
        py.check_signals()
    }
}

fn act(py: Python<'_>, number: i32, old: &Py<PyAny>, frame: &Bound<'_, PyAny>) -> PyResult<()> {
    if old.bind(py).is_callable() {
        old.call1(py, (number, frame)).map(drop)
    } else {
        SIGNAL.get(py)?.call1((number, old))?;
        RAISE_SIGNAL.get(py)?.call1((number,)).map(drop)
    }
}

/// Notes that the signal came. A child that was forked meanwhile by another thread inherits this
/// handler and waits for nothing: there the old handler acts.
fn handler(py: Python<'_>, number: i32, came: Arc<AtomicBool>, old: Py<PyAny>) -> PyResult<Bound<'_, PyCFunction>> {
    let waiting = std::process::id();
    let handle = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<()> {
        if std::process::id() == waiting {
            came.store(true, Ordering::Release);
            return Ok(());
        }
        act(args.py(), number, &old, &args.get_item(1)?)
    };
    PyCFunction::new_closure(py, None, None, handle)
}
