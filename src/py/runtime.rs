//! One tokio runtime for each process, with its sessions.
//!
//! After a fork the runtime's thread does not exist in the child, and the sockets are the parent's. So a runtime
//! carries the identity of its process, and a child makes its own. What a child has inherited is neither used nor
//! dropped: dropping it would end the parent's sessions. The runtimes are in a chain of lock-free cells, one link for
//! each generation of forks, so that a fork at any moment leaves nothing locked.
//!
//! A runtime whose descriptors were closed by somebody in the process is passed over in the same way.

use std::future::{pending, Future};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::FutureExt;
use once_cell::race::OnceBox;
use pyo3::prelude::*;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::canary::Dead;
use super::driver::Driver;
use super::imported::Imported;
use super::journal::Journal;
use super::news::News;
use crate::connect::settings::Identity;
use crate::error::{Error, Result};
use crate::session::shared::Sessions;
use crate::wait::Cancel;

/// How long an ending process waits for the calls that it has cancelled.
const CALLS_LIMIT: Duration = Duration::from_secs(5);
/// How long an ending process tries to tell the servers.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// How long a call may take that begins when the process ends already.
const LATE_LIMIT: Duration = Duration::from_secs(1);
const ENDING: &str = "the end of the process";
/// How far a process is with its end.
const ALIVE: u8 = 0;
const WAITS_END: u8 = 1;

/// Counts the forks between the first process and this one: a process id alone comes back, sooner in
/// a namespace of its own.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Notes that this is a child. Python calls it after a fork.
///
/// The child has inherited its parent's dice, and so have all its siblings: they would choose the same servers, pause for as
/// long, and send the same nonce to log in. From here on each has dice of its own.
#[pyfunction]
#[pyo3(name = "_forked")]
pub(super) fn forked() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    // Of the two halves of a random UUID different bits are fixed.
    let (high, low) = Uuid::new_v4().as_u64_pair();
    fastrand::seed(high ^ low.rotate_left(32));
}

/// The id of a process whose threads, but for the main one, wait no more.
static ENDING_PROCESS: AtomicU32 = AtomicU32::new(0);

/// Whether this process is at its end.
pub(super) fn is_ending() -> bool {
    ENDING_PROCESS.load(Ordering::Acquire) == std::process::id()
}

/// Whether a call is the main thread's. The end of the process is seen to from here on.
pub(super) fn on_main_thread(py: Python<'_>) -> PyResult<bool> {
    ENTER.get(py)?.call0()?.extract()
}

static ENTER: Imported = Imported::new("zkcoord._exit", "enter");

/// Counts the runtimes that had to be abandoned, over all generations.
static ABANDONED: AtomicU32 = AtomicU32::new(0);

/// Which runtime of which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    /// Process id and generation.
    process: (u32, u32),
    abandoned: u32,
}

impl Id {
    /// Whether it is of this process, be the runtime abandoned or not.
    pub(super) fn is_of_this_process(self) -> bool {
        self.process == id().process
    }
}

pub(super) fn id() -> Id {
    let process = (std::process::id(), GENERATION.load(Ordering::Acquire));
    Id { process, abandoned: ABANDONED.load(Ordering::Acquire) }
}

pub(super) struct Process {
    id: Id,
    pub(super) driver: Driver,
    pub(super) sessions: Arc<Sessions>,
    pub(super) news: Arc<News>,
    pub(super) journal: Journal,
    cancel: Mutex<Cancel>,
    calls: watch::Sender<usize>,
    ending: AtomicU8,
    /// Somebody was told that the runtime was abandoned.
    is_reported: AtomicBool,
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
        Ok(Self {
            id: id(),
            driver: Driver::new()?,
            sessions: Arc::default(),
            news: Arc::default(),
            journal: Journal::default(),
            cancel: Mutex::default(),
            calls: watch::Sender::default(),
            ending: AtomicU8::new(ALIVE),
            is_reported: AtomicBool::new(false),
        })
    }

    /// Whether it is this process's: not so in a child that was forked off since, of which nothing here may be used,
    /// nor even dropped.
    pub(super) fn is_own(&self) -> bool {
        self.id == id()
    }

    /// Whether the runtime must not be used any more, because its descriptors were closed. It is not this process's own
    /// then.
    fn is_abandoned(&self) -> bool {
        if !self.driver.is_dead() {
            return false;
        }
        let next = self.id.abandoned.wrapping_add(1);
        let _ = ABANDONED.compare_exchange(self.id.abandoned, next, Ordering::AcqRel, Ordering::Acquire);
        true
    }

    /// Tells of what was lost with the runtime, if anything was, and nobody was told.
    fn tell_once(&self) -> Result<()> {
        let is_reported = self.is_reported.swap(true, Ordering::AcqRel);
        let left = self.sessions.relied_on();
        if is_reported || left.is_empty() {
            return Ok(());
        }
        Err(Error::DescriptorsClosed { left })
    }

    /// What a call is told whose runtime was abandoned.
    pub(super) fn abandoned(&self, _: Dead) -> Error {
        self.is_abandoned();
        self.is_reported.store(true, Ordering::Release);
        Error::DescriptorsClosed { left: self.sessions.relied_on() }
    }

    /// This process's own, if it has one.
    pub(super) fn existing() -> Option<&'static Self> {
        let mut chain = &PROCESSES;
        while let Some(link) = chain.cell.get() {
            if link.process.is_own() && !link.process.is_abandoned() {
                return Some(&link.process);
            }
            chain = &link.next;
        }
        None
    }

    /// This process's own, made now if need be, for a call; and whether the call is the main thread's.
    pub(super) fn enter(py: Python<'_>) -> PyResult<(&'static Self, bool)> {
        let mut chain = &PROCESSES;
        loop {
            let link = chain.cell.get_or_try_init(|| {
                let process = Process::new().map_err(|error| Error::resources("open a connection", &error))?;
                Ok::<_, Error>(Box::new(Link { process, next: Chain::default() }))
            })?;
            if link.process.id.is_of_this_process() && link.process.is_abandoned() {
                link.process.tell_once()?;
            }
            if link.process.is_own() {
                link.process.driver.start().map_err(|error| Error::resources("start a thread", &error))?;
                let on_main_thread = on_main_thread(py)?;
                if link.process.is_own() {
                    return Ok((&link.process, on_main_thread));
                }
            }
            chain = &link.next;
        }
    }

    /// The means to cancel one call. While the process ends, a call of another thread than the main one is cancelled
    /// soon, and in the end at once: otherwise there would always be one more.
    pub(super) fn begin(&self, on_main_thread: bool) -> Cancel {
        let cancel = self.cancel.lock().unwrap_or_else(PoisonError::into_inner).child();
        let ending = self.ending.load(Ordering::Acquire);
        if ending == ALIVE || on_main_thread {
            return cancel;
        }
        if ending == WAITS_END {
            let late = cancel.clone();
            let _ = self.driver.spawn(async move {
                tokio::time::sleep(LATE_LIMIT).await;
                late.cancel(ENDING);
            });
        } else {
            cancel.cancel(ENDING);
        }
        cancel
    }

    /// The answer of a call, which begins as a task when somebody waits for it; it counts from here until it ends.
    pub(super) fn call<T, F>(&'static self, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.calls.send_modify(|calls| *calls += 1);
        let call = Call(self);
        let work = work.map(|result| {
            drop(call);
            result
        });
        Answer { process: self, work: Some(work.boxed()), task: None }
    }

    /// Ends all calls of now, not those of later, and waits for them.
    fn end_calls(&self, by: &'static str) {
        let mut cancel = self.cancel.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *cancel).cancel(by);
        drop(cancel);
        let mut calls = self.calls.subscribe();
        let _ = self.driver.block_on_for(CALLS_LIMIT, async { drop(calls.wait_for(|calls| *calls == 0).await) });
    }

    /// Ends the sessions, at the end of the process.
    fn finish(&self) {
        let _ = self.driver.block_on(self.sessions.finish(CLOSE_LIMIT));
    }

    /// Leaves nothing open.
    pub(super) fn end(&self) {
        self.end_calls(ENDING);
        self.finish();
    }
}

/// The answer of a call that is under way, or about to begin.
pub(super) struct Answer<T> {
    process: &'static Process,
    work: Option<BoxFuture<'static, Result<T>>>,
    task: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Answer<T> {
    /// Waits until it is there, within `limit` if there is one. It comes once.
    pub(super) fn wait(&mut self, limit: Option<Duration>) -> Option<Result<T>> {
        let Self { process, work, task } = self;
        // The task is made by the thread that is about to run it: nobody else is woken for it.
        let ended = async {
            let begin = || tokio::spawn(work.take().unwrap_or_else(|| Box::pin(pending())));
            task.get_or_insert_with(begin).await
        };
        let ended = match limit {
            Some(limit) => process.driver.block_on_for(limit, ended),
            None => process.driver.block_on(ended).map(Some),
        };
        match ended {
            Ok(ended) => Some(ended?.unwrap_or_else(|panic| Err(Error::Internal(panic.to_string())))),
            Err(dead) => Some(Err(process.abandoned(dead))),
        }
    }
}

/// A call under way.
struct Call(&'static Process);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.calls.send_modify(|calls| *calls -= 1);
    }
}

/// Ends the sessions of this process now, and with them its ephemeral leases.
///
/// Calls under way in other threads are cancelled: what they would get would be gone. They may take up to five seconds to
/// end, and after that the servers have one second to hear of it. Timed leases that the process holds are not renewed any
/// more. Later calls open new sessions. Nothing is done for a process that has none, nor for what a forked child has
/// inherited.
#[pyfunction]
pub(super) fn close(py: Python<'_>) {
    if let Some(process) = Process::existing() {
        py.detach(|| {
            process.end_calls("close()");
            let _ = process.driver.block_on(process.sessions.close(CLOSE_LIMIT));
        });
    }
}

/// Ends the sessions with an identity, if this process has any.
pub(super) fn close_one(py: Python<'_>, identity: &Identity) {
    if let Some(process) = Process::existing() {
        let _ = py.detach(|| process.driver.block_on(process.sessions.close_one(identity, CLOSE_LIMIT)));
    }
}

/// As [`close_one`], for those sessions that nobody uses.
pub(super) fn close_unused(py: Python<'_>, identity: &Identity) {
    if let Some(process) = Process::existing() {
        let _ = py.detach(|| process.driver.block_on(process.sessions.close_unused(identity, CLOSE_LIMIT)));
    }
}

/// From now on it is noted when this process removes a znode itself.
pub(super) fn expect_removal(path: String) {
    if let Some(process) = Process::existing() {
        process.sessions.expect_removal(path);
    }
}

/// Ends all waits of this process, and with `close` its sessions. How far the process is with its end: 1,
/// threads other than the main one wait no more; 2, they call no more. For the exit hooks.
#[pyfunction]
#[pyo3(name = "_finish")]
pub(super) fn finish(py: Python<'_>, close: bool, ending: u8) {
    ENDING_PROCESS.store(std::process::id(), Ordering::Release);
    if let Some(process) = Process::existing() {
        process.ending.fetch_max(ending, Ordering::AcqRel);
        py.detach(|| {
            process.end_calls(ENDING);
            if close {
                process.finish();
            }
        });
    }
}
