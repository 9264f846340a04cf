//! A lease that a Python caller has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use pyo3::prelude::*;
use tokio_util::sync::CancellationToken;

use super::call::{plain, Call, Purpose};
use super::connection::Settings as Connection;
use super::runtime::{expect_removal, id, Id};
use crate::connect::settings::Settings;
use crate::error::Error;
use crate::recipe::semaphore;

/// A lease, in the process that has taken it.
#[pyclass(frozen, module = "zkcoord._core")]
pub(super) struct Hold {
    settings: Arc<Settings>,
    hold: semaphore::Hold,
    process: Id,
    released: AtomicBool,
    /// A release was asked for before, whatever became of it, while the lease did not count as lost.
    released_before: Arc<AtomicBool>,
    watching: CancellationToken,
}

impl Hold {
    pub(super) fn new(settings: Arc<Settings>, hold: semaphore::Hold) -> Self {
        Self {
            settings,
            hold,
            process: id(),
            released: AtomicBool::new(false),
            released_before: Arc::default(),
            watching: CancellationToken::new(),
        }
    }

    /// The lease. One whose runtime was abandoned stays until the servers end its session, which this process does not
    /// have any more: until then it goes by its name, as a persistent one does.
    fn hold(&self) -> semaphore::Hold {
        let mut hold = self.hold.clone();
        hold.ephemeral &= self.process == id();
        hold
    }
}

#[pymethods]
impl Hold {
    /// The pool, as the caller named it: below the chroot.
    #[getter]
    fn path(&self) -> String {
        self.settings.shown(&self.hold.pool)
    }

    #[getter]
    fn identifier(&self) -> &str {
        &self.hold.identifier
    }

    /// The name of the lease's znode.
    #[getter]
    fn lease(&self) -> &str {
        &self.hold.lease
    }

    /// The zxid that created the lease; 0 where it was not asked for, because `lock` has taken it.
    #[getter]
    fn token(&self) -> i64 {
        self.hold.czxid.unwrap_or_default()
    }

    /// The session in which it was taken, in hexadecimal.
    #[getter]
    fn session(&self) -> String {
        format!("{:#x}", self.hold.session)
    }

    #[getter]
    fn ephemeral(&self) -> bool {
        self.hold.ephemeral
    }

    /// Whether this process has taken it: not so in a child that was forked off since.
    #[getter]
    fn is_own(&self) -> bool {
        self.process.is_of_this_process()
    }

    /// Whether it was given back.
    #[getter]
    fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    #[getter]
    fn connection(&self) -> Connection {
        Connection(self.settings.clone())
    }

    /// Gives the lease back. `False`: it was gone before.
    fn release<'py>(&self, py: Python<'py>, wait: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        let call = Call::new(Connection(self.settings.clone()).into_pyobject(py)?.as_any(), wait)?;
        self.watching.cancel();
        // A release that has failed goes on in the background. A lease that is gone by now was deleted by that.
        let may_be_done = self.released_before.load(Ordering::Acquire);
        let (hold, before) = (self.hold(), self.released_before.clone());
        let work = |client, budget| async move {
            if !semaphore::counts_as_lost(&client, &hold).await {
                before.store(true, Ordering::Release);
            }
            semaphore::release(&client, &hold, &budget).await
        };
        let answer = |py, was_there: bool| {
            self.released.store(true, Ordering::Release);
            plain(py, was_there || may_be_done)
        };
        call.run(py, &self.hold.pool, Purpose::Changes, work, answer)
    }

    /// Asks the servers whether the lease is there.
    fn is_held<'py>(&self, py: Python<'py>, wait: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        let call = Call::new(Connection(self.settings.clone()).into_pyobject(py)?.as_any(), wait)?;
        let hold = self.hold();
        let work = |client, budget| async move { semaphore::is_held(&client, &hold, &budget).await };
        call.run(py, &self.hold.pool, Purpose::Asks, work, plain)
    }

    /// Who has taken the lease away, in words, where somebody has left a notice of that.
    fn eviction<'py>(&self, py: Python<'py>, wait: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        let call = Call::new(Connection(self.settings.clone()).into_pyobject(py)?.as_any(), wait)?;
        let hold = self.hold();
        let work = |client, budget| async move { semaphore::eviction(&client, &hold, &budget).await };
        let answer = |py, eviction: Option<semaphore::Eviction>| plain(py, eviction.map(|it| it.to_string()));
        call.run(py, &self.hold.pool, Purpose::Asks, work, answer)
    }

    /// Lets `wait_until_lost` take an unlock by this process for no loss. It has to be called before the caller learns
    /// of the slot.
    fn expect_unlock(&self) {
        expect_removal(self.hold.path());
    }

    /// Waits until the lease is gone, without having been given back. Raises `Cancelled` when it is given back.
    fn wait_until_lost<'py>(&self, py: Python<'py>, wait: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        let call = Call::new(Connection(self.settings.clone()).into_pyobject(py)?.as_any(), wait)?;
        let (hold, watching) = (self.hold.clone(), self.watching.clone());
        let work = |client, budget| async move {
            tokio::select! {
                lost = semaphore::lost(&client, &hold, &budget) => lost,
                () = watching.cancelled() => Err(Error::Cancelled {
                    path: hold.pool.clone(),
                    by: "its release",
                    consequence: "the hold is watched no more",
                }),
            }
        };
        call.run(py, &self.hold.pool, Purpose::Waits, work, |py, ()| Ok(py.None()))
    }
}
