//! The way into the core and out of it.
//!
//! A call waits with the GIL released. On the main thread it looks for signals; off it Python shows
//! none. Everywhere a wait ends when the interpreter finalises. No panic leaves.

use std::future::Future;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tokio::sync::watch;

use super::process::Process;
use super::signals::Signals;
use crate::error::{Error, Result};
use crate::session::Registry;
use crate::wait::Cancel;

/// Between two looks for signals.
const TICK: Duration = Duration::from_millis(50);
/// A listener is not told more often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// A Python callable that is told the place in the queue, at most once a second.
pub(super) struct Listener {
    positions: watch::Receiver<usize>,
    callable: Py<PyAny>,
    told: Option<Instant>,
}

impl Listener {
    /// The listener, and what it listens to.
    pub(super) fn new(callable: &Bound<'_, PyAny>) -> Result<(watch::Sender<usize>, Self)> {
        if !callable.is_callable() {
            return Err(Error::argument("on_position", "must be callable"));
        }
        let (sender, positions) = watch::channel(0);
        Ok((sender, Self { positions, callable: callable.clone().unbind(), told: None }))
    }

    fn tell(&mut self, py: Python<'_>) -> PyResult<()> {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if due && self.positions.has_changed().unwrap_or(false) {
            let position = *self.positions.borrow_and_update();
            self.told = Some(Instant::now());
            self.callable.call1(py, (position,))?;
        }
        Ok(())
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
    call_and_tell(py, raise_on_signal, None, start)
}

/// As [`call`], and tells a listener meanwhile. What the listener raises ends the wait.
pub(super) fn call_and_tell<T, F>(
    py: Python<'_>,
    raise_on_signal: bool,
    mut listener: Option<Listener>,
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
    let signals = Signals::take_over(py)?;
    // Off the main thread, and with nobody to tell, there is nothing to wake up for.
    let tick = (signals.is_some() || listener.is_some()).then_some(TICK);
    let mut raised = None;
    let result = loop {
        if raised.is_none() {
            let told = listener.as_mut().map_or(Ok(()), |listener| listener.tell(py));
            if let Err(error) = told.and_then(|()| py.check_signals()) {
                cancel.cancel("an exception");
                raised = Some(error);
            }
        }
        if let Some(name) = signals.as_ref().and_then(Signals::name) {
            cancel.cancel(name);
        }
        if let Some(result) = step(tick) {
            break result.map_err(PyErr::from);
        }
    };
    let Some(signals) = signals else {
        return raised.map_or(result, Err);
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
