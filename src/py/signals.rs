//! SIGINT and SIGTERM while the main thread waits.
//!
//! Python runs handlers only on the main thread, and only when somebody asks. The handlers that are
//! there cannot be left to act on a wait: Salt's end the process from within, and a place in a queue
//! would stay behind. So they are taken over, and have their turn after the wait was undone.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

/// The handlers of SIGINT and SIGTERM while they are ours.
pub(super) struct Signals {
    seen: Arc<AtomicI32>,
    /// Number, name, the handler that was there, and whether that is the system's own.
    old: Vec<(i32, &'static str, Py<PyAny>, bool)>,
}

impl Signals {
    /// Takes the handlers over; `None` off the main thread. What is ignored stays ignored.
    pub(super) fn take_over(py: Python<'_>) -> PyResult<Option<Self>> {
        let signal = py.import("signal")?;
        let (ignore, default) = (signal.getattr("SIG_IGN")?, signal.getattr("SIG_DFL")?);
        let mut taken = Self { seen: Arc::default(), old: Vec::new() };
        for name in ["SIGINT", "SIGTERM"] {
            let number: i32 = signal.getattr(name)?.extract()?;
            let old = signal.call_method1("getsignal", (number,))?;
            if old.is_none() || old.eq(&ignore)? {
                continue;
            }
            let handler = Self::handler(py, number, taken.seen.clone(), old.clone().unbind())?;
            if signal.call_method1("signal", (number, handler)).is_err() {
                return Ok(None);
            }
            let system = old.eq(&default)?;
            taken.old.push((number, name, old.unbind(), system));
        }
        Ok(Some(taken))
    }

    /// Notes that the signal came. A child that was forked meanwhile by another thread inherits this
    /// handler and waits for nothing: there the old handler acts.
    fn handler(py: Python<'_>, number: i32, seen: Arc<AtomicI32>, old: Py<PyAny>) -> PyResult<Bound<'_, PyCFunction>> {
        let waiting = std::process::id();
        let handle = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<()> {
            if std::process::id() == waiting {
                seen.store(number, Ordering::Release);
                return Ok(());
            }
            let py = args.py();
            if old.bind(py).is_callable() {
                old.call1(py, args.clone())?;
            } else {
                let signal = py.import("signal")?;
                signal.call_method1("signal", (number, &old))?;
                signal.call_method1("raise_signal", (number,))?;
            }
            Ok(())
        };
        PyCFunction::new_closure(py, None, None, handle)
    }

    pub(super) fn number(&self) -> i32 {
        self.seen.load(Ordering::Acquire)
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.old.iter().find(|(number, ..)| *number == self.number()).map(|(_, name, ..)| *name)
    }

    pub(super) fn ends_process(&self, number: i32) -> bool {
        self.old.iter().any(|(other, _, _, system)| *other == number && *system)
    }

    pub(super) fn hand_back(&self, py: Python<'_>) -> PyResult<()> {
        let signal = py.import("signal")?;
        for (number, _, old, _) in &self.old {
            signal.call_method1("signal", (*number, old))?;
        }
        Ok(())
    }
}
