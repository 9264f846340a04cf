//! Ganeti's confd: one query to its end, and a client that sends and receives step by step.
//!
//! There is no runtime in this. A thread waits at its own socket, with the GIL released, and looks for signals in
//! between. The client's lock is taken with the GIL alone, so that no fork finds it locked.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use pythonize::pythonize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::arguments::{flag, refused, text, texts, timeout, whole, Given};
use super::call::{handle, plain};
use super::errors;
use super::runtime::{id, is_ending, on_main_thread, Id};
use super::signals::Signals;
use super::spare_sockets;
use crate::confd::book::{Heard, Manner, Taken};
use crate::confd::client::{with_buffer, Client, Discarded};
use crate::confd::key::Key;
use crate::confd::packet::{Discard, LONGEST_REQUEST};
use crate::confd::quorum::needed;
use crate::confd::reply::Reply;
use crate::confd::request::{Request, NAMES};
use crate::confd::secrets::leave_out;
use crate::confd::socket::Socket;
use crate::error::{Error, Result};
use crate::wait::deadline::Timeout;

/// The pause between two checks for signals, and for a caller who gives up.
const TICK: Duration = Duration::from_millis(50);
/// Nobody waits longer, and no clock counts to the end of more.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How often a request may be sent again.
const MOST_RETRIES: i64 = 3;
/// Items of a list in a query: more would make it too long.
const MOST_ITEMS: usize = LONGEST_REQUEST;
const NOTHING_CHANGED: &str = "nothing was changed, and what had come is dropped";

/// How a caller waits.
struct Wait {
    limit: Duration,
    handle: Option<tokio_util::sync::CancellationToken>,
    raise_on_signal: bool,
}

impl Wait {
    fn new(wait: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (limit, cancel, raise_on_signal): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) =
            wait.extract()?;
        let limit = match timeout(Some(&limit).filter(|it| !it.is_none()))? {
            Timeout::Forever => {
                refused("timeout", "must be a number of seconds: a server that is dead does not answer ever")?
            }
            Timeout::Once => Duration::ZERO,
            Timeout::For(duration) if duration > LONGEST_WAIT => {
                refused("timeout", "must not be more than the seconds of a year")?
            }
            Timeout::For(duration) => duration,
        };
        let raise_on_signal = flag("raise_on_signal", Some(&raise_on_signal).filter(|it| !it.is_none()))?;
        Ok(Self { limit, handle: handle(&cancel)?, raise_on_signal })
    }

    /// Repeats `step`, which waits until an instant at most, until it has an answer or the time is up. `step` runs
    /// without the GIL. Nothing has to be undone, so the handlers of signals run in between; what they raise ends the wait.
    fn run<'py, T: Send>(
        &self,
        py: Python<'py>,
        about: &str,
        mut step: impl FnMut(Python<'py>, Instant) -> Result<Option<T>>,
        answer: impl FnOnce(Option<T>) -> PyResult<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let (is_main, own) = (on_main_thread(py)?, id());
        let signals = (is_main && self.raise_on_signal).then(|| Signals::take_over(py)).transpose()?;
        let end = Instant::now().checked_add(self.limit);
        let cancelled = |by| Error::Cancelled { path: about.to_owned(), by, consequence: NOTHING_CHANGED };
        let mut raised = None;
        let result = loop {
            if self.handle.as_ref().is_some_and(tokio_util::sync::CancellationToken::is_cancelled) {
                break Err(cancelled("the caller"));
            }
            let tick = Instant::now().checked_add(TICK);
            let until = end.into_iter().chain(tick).min().unwrap_or_else(Instant::now);
            match step(py, until) {
                Ok(None) => {}
                done => break done,
            }
            raised = py.check_signals().err();
            if raised.is_some() || end.is_some_and(|end| Instant::now() >= end) {
                break Ok(None);
            }
            if own != id() {
                break Err(Error::Forked);
            }
            if let Some(name) = signals.as_ref().and_then(|signals| signals.names().next()) {
                break Err(cancelled(name));
            }
            if !is_main && is_ending() {
                break Err(cancelled("the end of the process"));
            }
        };
        let came = signals.as_ref().and_then(|signals| {
            raised = raised.take().or(signals.hand_back(py));
            signals.names().next()
        });
        match (raised, came) {
            (Some(error), _) => Err(error),
            (None, Some(name)) => Err(errors::interrupted(py, name, about, result.map(answer))),
            (None, None) => answer(result?),
        }
    }
}

/// Asks, and waits for enough replies or for the end of the time.
///
/// Returns `(status, answer, serial, is_consistent, needed, answers, is_timed_out, peers, discarded, is_stripped)`. The
/// first three are `None` where nobody has replied. Of each peer that was asked there is
/// `(address, status, answer, serial, seconds, trouble)`; those that give the same answer share one object.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn confd_query<'py>(
    py: Python<'py>,
    key: &Bound<'py, PyAny>,
    peers: &Bound<'py, PyAny>,
    port: &Bound<'py, PyAny>,
    kind: &Bound<'py, PyAny>,
    query: &Bound<'py, PyAny>,
    salt: &Bound<'py, PyAny>,
    coverage: &Bound<'py, PyAny>,
    replies: Given<'_, 'py>,
    retries: &Bound<'py, PyAny>,
    secrets: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let (wait, shows_secrets) = (Wait::new(wait)?, flag("secrets", Some(secrets))?);
    let mut client = client(spare_sockets::take, key, peers, port, retries, Manner::Strict)?;
    let request = Request::new(whole("type", kind)?, query_of(query)?, text("rsalt", salt)?)?;
    let (about, salt) = (request.name(), request.salt().to_owned());
    let replies = replies.map(|replies| whole("replies", replies)).transpose()?;
    client.send(request, whole("coverage", coverage)?, replies)?;
    client.book_mut().await_for(&salt, wait.limit, Instant::now());
    let mut discarded = Discarded::default();
    let step = |py: Python<'_>, until| {
        py.detach(|| client.wait_for(&salt, until, &mut discarded)).map_err(|error| broken(&error))?;
        Ok(client.exchange(&salt).is_some_and(|it| it.is_answered()).then_some(()))
    };
    let answered = wait.run(py, &format!("ganeti-confd, {about}"), step, |answered| plain(py, answered.is_some()))?;
    spare_sockets::give_back(client.is_ipv4(), client.socket());
    outcome(py, &client, &salt, answered.extract(py)?, &discarded, shows_secrets)
}

fn outcome<'a>(
    py: Python<'_>,
    client: &'a Client,
    salt: &str,
    is_answered: bool,
    discarded: &Discarded,
    shows_secrets: bool,
) -> PyResult<Py<PyAny>> {
    let exchange = client.exchange(salt).ok_or_else(|| Error::Internal("a query was lost".to_owned()))?;
    let verdict = exchange.verdict();
    // What several peers say is made for Python once: it may be long.
    let mut made: Vec<(&Value, Py<PyAny>)> = Vec::new();
    let mut parts_of = |reply: &'a Reply| {
        let known = made.iter().find(|(answer, _)| **answer == reply.answer).map(|(_, object)| object.clone_ref(py));
        let object = match known {
            Some(object) => object,
            None => {
                let object = shown(py, &reply.answer, shows_secrets)?;
                made.push((&reply.answer, object.clone_ref(py)));
                object
            }
        };
        Ok::<_, PyErr>((reply.status.number(), object, reply.serial))
    };
    let (status, answer, serial) = match verdict.answer.map(&mut parts_of).transpose()? {
        Some((status, answer, serial)) => (Some(status), Some(answer), Some(serial)),
        None => (None, None, None),
    };
    let peers = PyList::empty(py);
    for peer in client.peers().iter().filter(|peer| exchange.asked().contains(peer)) {
        let heard = exchange.heard().iter().find(|heard| heard.peer == *peer);
        let parts =
            heard.map(|Heard { reply, after, .. }| parts_of(reply).map(|it| (it, after.as_secs_f64()))).transpose()?;
        let trouble = exchange.unsent().iter().find(|(other, _)| other == peer).map(|(_, reason)| reason.clone());
        peers.append(match parts {
            Some(((status, answer, serial), after)) => {
                (peer.to_string(), Some(status), Some(answer), Some(serial), Some(after), None)
            }
            None => (peer.to_string(), None, None, None, None, trouble),
        })?;
    }
    let discarded: Vec<_> = discarded.reasons().map(|(from, reason)| (from.to_string(), reason.to_string())).collect();
    let is_stripped = client.book().key().seems_stripped();
    let (needed, answers) = (exchange.needed(), exchange.answers());
    plain(
        py,
        (status, answer, serial, verdict.is_consistent, needed, answers, !is_answered, peers, discarded, is_stripped),
    )
}

/// An answer for Python, with its secrets or without them.
fn shown(py: Python<'_>, answer: &Value, shows_secrets: bool) -> PyResult<Py<PyAny>> {
    if shows_secrets {
        return to_python(py, answer);
    }
    let mut answer = answer.clone();
    leave_out(&mut answer);
    to_python(py, &answer)
}

/// A client that stays, for the original's way of asking: send, receive, be called back.
#[pyclass(frozen, module = "zkcoord._core")]
pub(super) struct ConfdSocket {
    client: Mutex<(Id, Client)>,
}

impl ConfdSocket {
    /// The client of this process. A forked child gets one of its own: of its parent's socket it would take the replies.
    fn client(&self) -> Result<MutexGuard<'_, (Id, Client)>> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if !client.0.is_of_this_process() {
            let renewed = client.1.renewed()?;
            *client = (id(), renewed);
        }
        Ok(client)
    }
}

#[pymethods]
impl ConfdSocket {
    #[new]
    fn new(
        key: &Bound<'_, PyAny>,
        peers: &Bound<'_, PyAny>,
        port: &Bound<'_, PyAny>,
        retries: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        Ok(Self { client: Mutex::new((id(), client(|_| None, key, peers, port, retries, Manner::Ganetis)?)) })
    }

    /// The descriptor of the socket.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.client()?.1.socket().descriptor())
    }

    fn update_peers(&self, peers: &Bound<'_, PyAny>) -> PyResult<()> {
        Ok(self.client()?.1.update_peers(&texts("peers", peers)?)?)
    }

    #[getter]
    fn peers(&self) -> PyResult<Vec<String>> {
        Ok(self.client()?.1.peers().iter().map(IpAddr::to_string).collect())
    }

    /// Sends a request to so many peers.
    fn send(
        &self,
        kind: &Bound<'_, PyAny>,
        query: &Bound<'_, PyAny>,
        salt: &Bound<'_, PyAny>,
        coverage: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let request = Request::new(whole("type", kind)?, query_of(query)?, text("rsalt", salt)?)?;
        Ok(self.client()?.1.send(request, whole("coverage", coverage)?, None)?)
    }

    /// Sends what could not be sent before.
    fn flush(&self) -> PyResult<()> {
        self.client()?.1.flush();
        Ok(())
    }

    /// Closes the queries whose time is up, and returns their salts.
    fn expire(&self) -> PyResult<Vec<String>> {
        Ok(self.client()?.1.expire())
    }

    /// Somebody will wait for a query for so many seconds.
    fn await_for(&self, salt: &str, limit: &Bound<'_, PyAny>) -> PyResult<()> {
        let limit = super::arguments::seconds("timeout", limit)?;
        self.client()?.1.book_mut().await_for(salt, limit, Instant::now());
        Ok(())
    }

    /// How many were asked, how many have replied, and whether these are enough; `None` for a query that is not open.
    fn counts(&self, salt: &str) -> PyResult<Option<(usize, usize, bool)>> {
        let client = self.client()?;
        let exchange = client.1.exchange(salt);
        Ok(exchange.map(|it| (it.asked().len(), it.heard().len(), it.is_answered())))
    }

    /// Waits for one datagram. Returns `None` where none came, or its sender's address and port and what `handle` returns.
    fn receive<'py>(&self, py: Python<'py>, wait: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        let wait = Wait::new(wait)?;
        let step = |py: Python<'_>, until| {
            let socket = {
                let mut client = self.client()?;
                client.1.resend();
                client.1.socket()
            };
            with_buffer(|buffer| {
                let came = py.detach(|| socket.receive(until, buffer)).map_err(|error| broken(&error))?;
                let Some((length, from)) = came else { return Ok(None) };
                let meaning = self.client()?.1.handle(buffer.get(..length).unwrap_or_default(), from.ip());
                Ok(Some((from, meaning)))
            })
        };
        wait.run(py, "ganeti-confd", step, |came| match came {
            None => Ok(py.None()),
            Some((from, meaning)) => plain(py, (from.ip().to_string(), from.port(), means(py, meaning)?)),
        })
    }

    /// What a datagram from an address means: `(salt, status, answer, serial)`, or the reason for which it is discarded.
    fn handle<'py>(&self, py: Python<'py>, datagram: &Bound<'py, PyBytes>, address: &str) -> PyResult<Py<PyAny>> {
        let Ok(from) = address.parse() else { return refused("ip", "is not an address")? };
        // The lock is free again before anything of Python's is made: that may run code which asks this client.
        let meaning = self.client()?.1.handle(datagram.as_bytes(), from);
        means(py, meaning)
    }
}

fn means(py: Python<'_>, meaning: std::result::Result<Taken, Discard>) -> PyResult<Py<PyAny>> {
    match meaning {
        Ok(Taken { salt, reply }) => {
            plain(py, (salt, reply.status.number(), to_python(py, &reply.answer)?, reply.serial))
        }
        Err(reason) => plain(py, reason.to_string()),
    }
}

/// A text that nobody has had before.
#[pyfunction]
pub(super) fn confd_salt() -> String {
    Uuid::new_v4().to_string()
}

/// What types of requests are called, by their numbers.
#[pyfunction]
pub(super) fn confd_types() -> [&'static str; NAMES.len()] {
    NAMES
}

/// How many of so many peers have to reply.
#[pyfunction]
pub(super) fn confd_needed(peers: usize) -> usize {
    needed(peers)
}

fn client(
    spare: impl FnOnce(bool) -> Option<Arc<Socket>>,
    key: &Bound<'_, PyAny>,
    peers: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    retries: &Bound<'_, PyAny>,
    manner: Manner,
) -> PyResult<Client> {
    let port = u16::try_from(whole("port", port)?).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| Error::argument("port", "must be a number from 1 to 65535"))?;
    let retries = whole("retries", retries)?;
    let retries = u32::try_from(retries).ok().filter(|_| retries <= MOST_RETRIES);
    let retries = retries.ok_or_else(|| Error::argument("retries", format!("must be from 0 to {MOST_RETRIES}")))?;
    Ok(Client::on(spare, key_of(key)?, &texts("peers", peers)?, port, retries, manner)?)
}

/// Bytes, or text.
fn key_of(value: &Bound<'_, PyAny>) -> Result<Key> {
    match value.cast::<PyBytes>() {
        Ok(bytes) => Key::new(bytes.as_bytes().to_vec()),
        Err(_) => match value.extract::<String>() {
            Ok(text) => Key::new(text.into_bytes()),
            Err(_) => refused("hmac_key", "must be bytes or text: the content of hmac.key"),
        },
    }
}

/// Nothing, a text, or a dict of texts and lists: what a query may be, and no deeper.
fn query_of(value: &Bound<'_, PyAny>) -> Result<Value> {
    if let Some(leaf) = leaf(value) {
        return Ok(leaf);
    }
    let Ok(parts) = value.cast::<PyDict>() else { return Ok(Value::Bool(false)) };
    let mut object = Map::new();
    for (key, part) in parts {
        let Ok(key) = key.extract::<String>() else { return refused("query", "must have texts for keys") };
        object.insert(key, leaf(&part).or_else(|| list(&part)).unwrap_or(Value::Bool(false)));
    }
    Ok(object.into())
}

fn list(value: &Bound<'_, PyAny>) -> Option<Value> {
    let is_list = value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>();
    let items = value.try_iter().ok().filter(|_| is_list)?;
    let items = items.take(MOST_ITEMS).map(|item| item.ok().and_then(|item| leaf(&item)).unwrap_or(Value::Null));
    Some(Value::Array(items.collect()))
}

fn leaf(value: &Bound<'_, PyAny>) -> Option<Value> {
    if value.is_none() {
        return Some(Value::Null);
    }
    if value.is_instance_of::<pyo3::types::PyBool>() {
        return Some(Value::Bool(true));
    }
    value.extract::<String>().map(Value::from).or_else(|_| value.extract::<i64>().map(Value::from)).ok()
}

fn broken(error: &io::Error) -> Error {
    let closed = error.kind() == ErrorKind::NotConnected || error.raw_os_error() == Some(9);
    let action = if closed { "use the socket, which somebody in this process has closed" } else { "use the socket" };
    Error::resources(action, error)
}

fn to_python(py: Python<'_>, value: &Value) -> PyResult<Py<PyAny>> {
    Ok(pythonize(py, value).map_err(|error| Error::Internal(error.to_string()))?.unbind())
}
