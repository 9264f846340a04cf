//! One tokio runtime for each process id, and the way in and out of it.
//!
//! After a fork the runtime's threads do not exist in the child, and its sockets are the parent's. So
//! the slot of the runtime carries its process id, a child makes its own, and what it has inherited is
//! neither used nor dropped: dropping it would end the parent's session. The slot is a chain of
//! lock-free cells, one link for each generation of forks, so that a fork at any moment leaves nothing
//! locked.
//!
//! A call waits with the GIL released. On the main thread it looks for signals: the handlers of SIGINT
//! and SIGTERM are taken over while it waits, because those of Salt end the process from within. Off
//! the main thread Python shows no signals; there, and everywhere, a wait ends when the interpreter
//! finalises.

use std::future::Future;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use once_cell::race::OnceBox;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use tokio::runtime::Runtime;

use crate::error::{Error, Result};
use crate::session::Registry;
use crate::wait::Cancel;

/// Between two looks for signals.
const TICK: Duration = Duration::from_millis(50);
/// How long an ending process waits for its calls to come back.
const CALLS_LIMIT: Duration = Duration::from_secs(5);
/// How long an ending process tries to tell the servers.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

struct Process {
    id: u32,
    runtime: Runtime,
    registry: Arc<Registry>,
    cancel: Mutex<Cancel>,
    calls: Mutex<usize>,
    no_calls: Condvar,
    hooked: AtomicBool,
}

#[derive(Default)]
struct Chain {
    cell: OnceBox<Link>,
}

struct Link {
    process: Process,
    next: Chain,
}

static PROCESSES: Chain = Chain { cell: OnceBox::new() };

impl Process {
    fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("zkcoord")
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Self {
            id: std::process::id(),
            runtime,
            registry: Arc::default(),
            cancel: Mutex::default(),
            calls: Mutex::default(),
            no_calls: Condvar::new(),
            hooked: AtomicBool::new(false),
        })
    }

    /// This process's own, if it has one.
    fn existing() -> Option<&'static Self> {
        let mut chain = &PROCESSES;
        while let Some(link) = chain.cell.get() {
            if link.process.id == std::process::id() {
                return Some(&link.process);
            }
            chain = &link.next;
        }
        None
    }

    /// This process's own, made now if need be, with its exit hooks.
    fn current(py: Python<'_>) -> PyResult<&'static Self> {
        let mut chain = &PROCESSES;
        let process = loop {
            let link = chain.cell.get_or_try_init(|| {
                Process::new()
                    .map(|process| Box::new(Link { process, next: Chain::default() }))
                    .map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))
            })?;
            if link.process.id == std::process::id() {
                break &link.process;
            }
            chain = &link.next;
        };
        if !process.hooked.swap(true, Ordering::AcqRel) {
            let finish = pyo3::wrap_pyfunction!(finish, py)?;
            py.import("zkcoord._exit")?.call_method1("register", (finish,))?;
        }
        Ok(process)
    }

    fn cancel(&self) -> Cancel {
        self.cancel.lock().unwrap_or_else(PoisonError::into_inner).child()
    }

    /// Ends all waits of now, not those of later.
    fn cancel_all(&self, by: &'static str) {
        let mut cancel = self.cancel.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *cancel).cancel(by);
    }

    fn enter(&self) -> Call<'_> {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Call(self)
    }

    fn wait_for_calls(&self, limit: Duration) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.no_calls.wait_timeout_while(calls, limit, |calls| *calls > 0));
    }

    fn close(&self) {
        self.runtime.block_on(self.registry.close(CLOSE_LIMIT));
    }
}

/// A call under way.
struct Call<'a>(&'a Process);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        *self.0.calls.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.no_calls.notify_all();
    }
}

/// Runs a call of the core to its end, and answers signals meanwhile.
pub(super) fn call<T, F>(
    py: Python<'_>,
    raise_on_signal: bool,
    start: impl FnOnce(Arc<Registry>, Cancel) -> F,
) -> PyResult<T>
where
    T: Send,
    F: Future<Output = Result<T>> + Send,
{
    let process = Process::current(py)?;
    let _call = process.enter();
    let cancel = process.cancel();
    let mut work = pin!(start(process.registry.clone(), cancel.clone()));
    let mut step = |limit: Option<Duration>| {
        py.detach(|| {
            let work = work.as_mut();
            catch_unwind(AssertUnwindSafe(|| {
                process.runtime.block_on(async {
                    match limit {
                        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
                        None => Some(work.await),
                    }
                })
            }))
            .unwrap_or_else(|panic| Some(Err(Error::Internal(reason(&*panic)))))
        })
    };
    if let Some(result) = step(Some(TICK)) {
        return Ok(result?);
    }
    let Some(signals) = Signals::take_over(py)? else {
        let result = step(None);
        return Ok(result.unwrap_or_else(|| Err(Error::Internal("a wait without limit ended".to_owned())))?);
    };
    let mut raised = None;
    let result = loop {
        if let Err(error) = py.check_signals() {
            cancel.cancel("a signal handler");
            raised = Some(error);
        } else if let Some(name) = signals.name() {
            cancel.cancel(name);
        }
        if let Some(result) = step(Some(TICK)) {
            break result.map_err(PyErr::from);
        }
    };
    let number = signals.number();
    signals.hand_back(py)?;
    if let Some(error) = raised {
        return Err(error);
    }
    // With `raise_on_signal` an answer that came together with the signal wins: the caller must hear
    // that it holds a slot. Otherwise it is the old handler's turn.
    if number != 0 && !raise_on_signal {
        if signals.ends_process(number) {
            // It must find nothing of ours open.
            py.detach(|| process.close());
        }
        py.import("signal")?.call_method1("raise_signal", (number,))?;
        py.check_signals()?;
    }
    result
}

fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

/// The handlers of SIGINT and SIGTERM while they are ours.
struct Signals {
    seen: Arc<AtomicI32>,
    /// Number, name, the handler that was there, and whether that is the system's own.
    old: Vec<(i32, &'static str, Py<PyAny>, bool)>,
}

impl Signals {
    /// Takes the handlers over; `None` off the main thread. What is ignored stays ignored.
    fn take_over(py: Python<'_>) -> PyResult<Option<Self>> {
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

    fn number(&self) -> i32 {
        self.seen.load(Ordering::Acquire)
    }

    fn name(&self) -> Option<&'static str> {
        self.old.iter().find(|(number, ..)| *number == self.number()).map(|(_, name, ..)| *name)
    }

    fn ends_process(&self, number: i32) -> bool {
        self.old.iter().any(|(other, _, _, system)| *other == number && *system)
    }

    fn hand_back(&self, py: Python<'_>) -> PyResult<()> {
        let signal = py.import("signal")?;
        for (number, _, old, _) in &self.old {
            signal.call_method1("signal", (*number, old))?;
        }
        Ok(())
    }
}

/// Ends the sessions of this process now, and with them its ephemeral leases.
///
/// Waits up to one second for the servers to hear of it. Later calls open new sessions. Nothing is
/// done for a process that has none, nor for what a forked child has inherited.
#[pyfunction]
pub(super) fn close(py: Python<'_>) {
    if let Some(process) = Process::existing() {
        py.detach(|| process.close());
    }
}

/// Ends all waits of this process; with `close`, its sessions too. For the exit hooks.
#[pyfunction]
#[pyo3(name = "_finish")]
pub(super) fn finish(py: Python<'_>, close: bool) {
    if let Some(process) = Process::existing() {
        process.cancel_all("the end of the process");
        py.detach(|| {
            process.wait_for_calls(CALLS_LIMIT);
            if close {
                process.close();
            }
        });
    }
}
