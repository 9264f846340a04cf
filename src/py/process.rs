//! One tokio runtime for each process id, with its sessions.
//!
//! After a fork the runtime's threads do not exist in the child, and its sockets are the parent's. So
//! the slot of the runtime carries its process id, a child makes its own, and what it has inherited is
//! neither used nor dropped: dropping it would end the parent's session. The slot is a chain of
//! lock-free cells, one link for each generation of forks, so that a fork at any moment leaves nothing
//! locked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use once_cell::race::OnceBox;
use pyo3::prelude::*;
use tokio::runtime::Runtime;

use crate::error::Error;
use crate::session::Registry;
use crate::wait::Cancel;

/// How long an ending process waits for its calls to come back.
const CALLS_LIMIT: Duration = Duration::from_secs(5);
/// How long an ending process tries to tell the servers.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Process {
    id: u32,
    pub(super) runtime: Runtime,
    pub(super) registry: Arc<Registry>,
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
    pub(super) fn current(py: Python<'_>) -> PyResult<&'static Self> {
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

    pub(super) fn cancel(&self) -> Cancel {
        self.cancel.lock().unwrap_or_else(PoisonError::into_inner).child()
    }

    /// Ends all waits of now, not those of later.
    fn cancel_all(&self, by: &'static str) {
        let mut cancel = self.cancel.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *cancel).cancel(by);
    }

    pub(super) fn enter(&self) -> Call<'_> {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Call(self)
    }

    fn wait_for_calls(&self, limit: Duration) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.no_calls.wait_timeout_while(calls, limit, |calls| *calls > 0));
    }

    pub(super) fn close(&self) {
        self.runtime.block_on(self.registry.close(CLOSE_LIMIT));
    }
}

/// A call under way.
pub(super) struct Call<'a>(&'a Process);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        *self.0.calls.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.no_calls.notify_all();
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
