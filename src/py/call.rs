//! One call from Python into the core: its arguments in, its answer or its exception out.
//!
//! The work of a call is a task of the runtime. So it goes on whatever happens to the thread that asked: an exception
//! in a signal handler ends the wait in order, and leaves no work half done. The thread waits with the GIL released.
//! The main thread looks for signals while it waits; Python shows none to other threads. Every wait ends when the
//! interpreter finalises. No panic reaches Python.

use std::future::Future;
use std::mem::forget;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::IntoPyObjectExt;
use pythonize::pythonize;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::arguments::{self, flag, refused};
use super::cancel::Cancel;
use super::connection::settings_of;
use super::errors;
use super::outage::{self, Outage};
use super::runtime::Process;
use super::signals::Signals;
use crate::client::Client;
use crate::connect::settings::Settings;
use crate::error::{Error, Result};
use crate::wait::deadline::Timeout;
use crate::wait::{self, Budget};

/// The pause between two checks for signals.
const TICK: Duration = Duration::from_millis(50);
/// A listener is not called more often.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// A listener is called after so long with the position that it knows already, so that what it raises can end a wait in
/// which no contender moves.
const TELL_AGAIN: Duration = Duration::from_secs(3);

/// A Python callable that is called with the position in the queue, at most once a second.
pub(super) struct Listener {
    positions: watch::Receiver<usize>,
    callable: Py<PyAny>,
    called: Option<Instant>,
}

impl Listener {
    /// The listener, and where its positions go.
    pub(super) fn new(callable: &Bound<'_, PyAny>) -> Result<(watch::Sender<usize>, Self)> {
        if !callable.is_callable() {
            return Err(Error::argument("on_position", "must be callable"));
        }
        let (sender, positions) = watch::channel(0);
        Ok((sender, Self { positions, callable: callable.clone().unbind(), called: None }))
    }

    fn tell(&mut self, py: Python<'_>) -> PyResult<()> {
        let has_changed = self.positions.has_changed().unwrap_or(false);
        let rest = if has_changed { TELL_EVERY } else { TELL_AGAIN };
        if self.called.map_or(has_changed, |called| called.elapsed() >= rest) {
            let position = *self.positions.borrow_and_update();
            self.called = Some(Instant::now());
            self.callable.call1(py, (position,))?;
        }
        Ok(())
    }
}

/// How a caller waits: the connection's settings, and `(timeout, cancel, raise_on_signal)`.
pub(super) struct Call {
    pub(super) settings: Arc<Settings>,
    timeout: Timeout,
    handle: Option<CancellationToken>,
    raise_on_signal: bool,
}

/// What a call does with its time.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// It waits for something to happen, such as a free slot.
    Waits,
    /// It only wants an answer.
    Asks,
    /// It changes something. A time that the caller names is obeyed through an outage.
    Changes,
}

impl Call {
    pub(super) fn new(connection: &Bound<'_, PyAny>, wait: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (timeout, cancel, raise_on_signal): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) =
            wait.extract()?;
        Ok(Self {
            settings: settings_of(connection)?,
            timeout: arguments::timeout(Some(&timeout).filter(|it| !it.is_none()))?,
            handle: handle(&cancel)?,
            raise_on_signal: flag("raise_on_signal", Some(&raise_on_signal).filter(|it| !it.is_none()))?,
        })
    }

    fn budget(&self, purpose: Purpose, cancel: wait::Cancel) -> Budget {
        match purpose {
            Purpose::Waits => Budget::waiting(self.timeout, self.settings.connect_timeout, cancel),
            Purpose::Asks => Budget::answer(self.timeout, self.settings.connect_timeout, cancel),
            Purpose::Changes => Budget::change(self.timeout, self.settings.connect_timeout, cancel),
        }
    }

    /// Runs a call of the core over the znode `about` to its end, and answers signals meanwhile.
    pub(super) fn run<'py, T, F>(
        self,
        py: Python<'py>,
        about: &str,
        purpose: Purpose,
        work: impl FnOnce(Client, Budget) -> F,
        answer: impl FnOnce(Python<'py>, T) -> PyResult<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.run_with(py, about, purpose, None, work, |_, _, _| None, answer)
    }

    /// As [`Call::run`], and calls a listener meanwhile. An exception of the listener or of a signal handler ends the
    /// wait, and is raised. An answer that came together with it is undone where it has to be.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_with<'py, T, F>(
        mut self,
        py: Python<'py>,
        about: &str,
        purpose: Purpose,
        mut listener: Option<Listener>,
        work: impl FnOnce(Client, Budget) -> F,
        undo: impl FnOnce(&T, Client, &'static str) -> Option<Undo>,
        answer: impl FnOnce(Python<'py>, T) -> PyResult<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (process, on_main_thread) = Process::enter(py)?;
        // Before anything is sent. From here on no signal handler acts on its own.
        let signals = on_main_thread.then(|| Signals::take_over(py)).transpose()?;
        if !process.is_own() {
            let raised = signals.and_then(|signals| signals.hand_back(py));
            return Err(raised.unwrap_or_else(|| Error::Forked.into()));
        }
        let mut cancel = process.begin(on_main_thread);
        if let Some(handle) = self.handle.clone() {
            cancel = cancel.with_handle(handle);
        }
        let client = Client::new(process.sessions.clone(), self.settings.clone());
        // In a box from the start: some are eight kilobytes long, and the stack of a thread may be small.
        let mut task = process.call(Box::pin(work(client.clone(), self.budget(purpose, cancel.clone()))));
        let mut raised = None;
        let mut outage = matches!(purpose, Purpose::Waits).then(Outage::default);
        // Off the main thread, and with nobody to tell, there is little to wake up for, or nothing.
        let tick = match (signals.is_some() || listener.is_some(), &outage) {
            (true, _) => Some(TICK),
            (false, Some(_)) => Some(outage::TICK),
            (false, None) => None,
        };
        let mut result = loop {
            if let Some(result) = py.detach(|| task.wait(tick)) {
                break result;
            }
            if raised.is_none() {
                let listened = listener.as_mut().map_or(Ok(()), |listener| listener.tell(py));
                raised = listened.and_then(|()| py.check_signals()).err();
                // What a child has inherited may be locked: the listener, or a handler, may have forked.
                if !process.is_own() {
                    break Err(Error::Forked);
                }
                raised = raised.or_else(|| process.journal.hand_over(py).err());
                if raised.is_some() {
                    cancel.cancel("an exception");
                }
            }
            if let Some(name) = signals.as_ref().and_then(|signals| signals.names().next()) {
                cancel.cancel(name);
            }
            if let Some(outage) = &mut outage {
                outage.observe(py, &client, about);
            }
        };
        // Before the handlers of signals are set again: one that comes while the log is written is seen below.
        if let Some(error) = process.is_own().then(|| process.journal.hand_over(py).err()).flatten() {
            raised.get_or_insert(error);
        }
        // A caller that has cancelled the call does not take its answer any more.
        let is_given_up = self.handle.as_ref().is_some_and(CancellationToken::is_cancelled);
        // A signal that came with the answer is seen in there at the latest.
        if let Some(error) = signals.as_ref().and_then(|signals| signals.hand_back(py)) {
            raised.get_or_insert(error);
        }
        // A child that a handler or the listener has forked off must not even drop what is its parent's; nor must anybody
        // whose runtime was abandoned.
        if !process.is_own() {
            forget((cancel, task, listener, client, self.handle.take()));
            return Err(match (raised, result, signals) {
                (Some(raised), ..) => raised,
                (None, Err(error @ Error::DescriptorsClosed { .. }), Some(signals)) => {
                    signals.deliver(py)?;
                    error.into()
                }
                (None, Err(error @ Error::DescriptorsClosed { .. }), None) => error.into(),
                _ => Error::Forked.into(),
            });
        }
        // Before a handler runs that may fork.
        drop((cancel, task, listener));
        let came = signals.as_ref().and_then(|signals| signals.names().next());
        if came.is_some() || raised.is_some() || is_given_up {
            let by = came.unwrap_or(if raised.is_some() { "an exception" } else { "the caller" });
            if let Some(undoing) = result.as_ref().ok().and_then(|value| undo(value, client.clone(), by)) {
                let undone = py.detach(|| process.driver.block_on(undoing));
                result = Err(undone.unwrap_or_else(|dead| process.abandoned(dead)));
            }
        }
        drop(client);
        if let Some(error) = raised {
            // The caller has to learn of what was not undone as well.
            if let (Err(unresolved @ Error::ConnectionLost { .. }), None) = (result, error.cause(py)) {
                error.set_cause(py, Some(unresolved.into()));
            }
            return Err(error);
        }
        match (came, signals) {
            (Some(name), _) if self.raise_on_signal => {
                Err(errors::interrupted(py, name, about, result.map(|value| answer(py, value))))
            }
            (Some(_), Some(signals)) => {
                if signals.end_process() {
                    // The signal must find no session of ours open.
                    py.detach(|| process.end());
                }
                signals.deliver(py)?;
                answer(py, result?)
            }
            _ => answer(py, result?),
        }
    }
}

/// Undoes what a call has done for a caller who will not get its answer: the error that the caller gets instead.
pub(super) type Undo = Pin<Box<dyn Future<Output = Error> + Send>>;

pub(super) fn handle(cancel: &Bound<'_, PyAny>) -> Result<Option<CancellationToken>> {
    if cancel.is_none() {
        return Ok(None);
    }
    match cancel.cast::<Cancel>() {
        Ok(cancel) => Ok(Some(cancel.get().token())),
        Err(_) => refused("cancel", "must be a zkcoord.Cancel"),
    }
}

/// An answer that becomes a dict, with its fields as keys.
pub(super) fn to_python<T: Serialize>(py: Python<'_>, value: T) -> PyResult<Py<PyAny>> {
    let value = pythonize(py, &value).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(value.unbind())
}

/// An answer that Python has a value for.
pub(super) fn plain<'py>(py: Python<'py>, value: impl IntoPyObject<'py>) -> PyResult<Py<PyAny>> {
    value.into_py_any(py)
}
