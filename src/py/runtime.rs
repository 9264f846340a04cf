//! The way into the core and out of it.
//!
//! A call's work is a task of the runtime, so that it goes on whatever happens to the thread that asked:
//! an exception in a signal handler ends the wait in order, and never leaves work half done. The thread
//! waits with the GIL released. On the main thread it looks for signals; off it Python shows none.
//! Everywhere a wait ends when the interpreter finalises. No panic leaves.

use std::future::Future;
use std::mem::forget;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tokio::sync::watch;

use super::process::Process;
use super::signals::Signals;
use crate::error::{Error, Result};
use crate::registry::Registry;
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

/// Undoes what a call has done for a caller who cannot be told of it; what the caller is told instead.
pub(super) type Undo = Pin<Box<dyn Future<Output = Error> + Send>>;

/// Runs a call of the core to its end, and answers signals meanwhile.
pub(super) fn call<T, F>(
    py: Python<'_>,
    raise_on_signal: bool,
    start: impl FnOnce(Arc<Registry>, Cancel) -> F,
) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    call_with(py, raise_on_signal, None, start, |_, _| None)
}

/// As [`call`], and tells a listener meanwhile. What the listener or a signal handler raises ends the
/// wait and comes through; an answer that came together with it is undone.
pub(super) fn call_with<T, F>(
    py: Python<'_>,
    raise_on_signal: bool,
    mut listener: Option<Listener>,
    start: impl FnOnce(Arc<Registry>, Cancel) -> F,
    undo: impl FnOnce(&T, Arc<Registry>) -> Option<Undo>,
) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let (process, on_main_thread) = Process::enter(py)?;
    // Before anything is sent: from here on no handler acts on its own.
    let signals = on_main_thread.then(|| Signals::take_over(py)).transpose()?;
    if !process.is_own() {
        let raised = signals.and_then(|signals| signals.hand_back(py));
        return Err(raised.unwrap_or_else(|| Error::Forked.into()));
    }
    let cancel = process.begin(on_main_thread);
    let mut answer = process.spawn(start(process.registry.clone(), cancel.clone()));
    let mut raised = None;
    // Off the main thread, and with nobody to tell, there is nothing to wake up for.
    let tick = (signals.is_some() || listener.is_some()).then_some(TICK);
    let mut result = loop {
        if let Some(result) = py.detach(|| answer.wait(tick)) {
            break result;
        }
        if raised.is_none() {
            let told = listener.as_mut().map_or(Ok(()), |listener| listener.tell(py));
            raised = told.and_then(|()| py.check_signals()).err();
            if !process.is_own() {
                break Err(Error::Forked);
            }
            if raised.is_some() {
                cancel.cancel("an exception");
            }
        }
        if let Some(name) = signals.as_ref().and_then(|signals| signals.names().next()) {
            cancel.cancel(name);
        }
    };
    // A signal that came with the answer is still to be seen, and is seen at the latest in there.
    if let Some(error) = signals.as_ref().and_then(|signals| signals.hand_back(py)) {
        raised.get_or_insert(error);
    }
    // A child that a handler or the listener has forked off: it must not even drop what is its parent's.
    if !process.is_own() {
        forget((cancel, answer, listener));
        return Err(raised.unwrap_or_else(|| Error::Forked.into()));
    }
    // Before a handler runs that may fork.
    drop((cancel, answer, listener));
    let came = signals.as_ref().is_some_and(|signals| signals.names().next().is_some());
    if came || raised.is_some() {
        if let Some(undoing) = result.as_ref().ok().and_then(|value| undo(value, process.registry.clone())) {
            result = Err(py.detach(|| process.driver.block_on(undoing)));
        }
    }
    if let Some(error) = raised {
        // What was not undone has to be told as well.
        if let (Err(doubt @ Error::ConnectionLost { .. }), None) = (result, error.cause(py)) {
            error.set_cause(py, Some(doubt.into()));
        }
        return Err(error);
    }
    if let Some(signals) = signals.filter(|_| came && !raise_on_signal) {
        if signals.end_process() {
            // They must find nothing of ours open.
            py.detach(|| process.end());
        }
        signals.deliver(py)?;
    }
    result.map_err(PyErr::from)
}
