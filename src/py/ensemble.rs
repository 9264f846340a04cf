//! An ensemble, for those who run it.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyString};
use pythonize::pythonize;

use super::arguments::{count, flag, refused, text, Given};
use super::call::{plain, Call, Purpose};
use crate::ensemble::change::{self, Changed, Terms};
use crate::ensemble::configuration::{Configuration, Line, Member};
use crate::ensemble::decision::{steps, Step};
use crate::ensemble::status;
use crate::error::{Error, Result};
use crate::tree;

/// The port of AdminServers, unless they are told another one.
const ADMIN_PORT: u32 = 8080;

/// The port of the AdminServers; zero for none.
fn admin_port(value: Given<'_, '_>) -> Result<u16> {
    let port = count("admin_port", value, ADMIN_PORT, 0)?;
    u16::try_from(port).map_err(|_| Error::argument("admin_port", "must be a port, or 0 for no AdminServer"))
}

fn id(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<i64> {
    let number = match value.cast::<PyString>() {
        Ok(text) => text.to_str().ok().and_then(|text| text.trim().parse().ok()),
        Err(_) if value.is_instance_of::<PyBool>() => None,
        Err(_) => value.extract::<i64>().ok(),
    };
    number.filter(|id| *id >= 0).map_or_else(|| refused(argument, "must be the id of a server, a whole number"), Ok)
}

/// The version of a configuration: a zxid.
fn at_version(value: &Bound<'_, PyAny>) -> Result<u64> {
    let number = value.extract::<u64>().ok().filter(|_| !value.is_instance_of::<PyBool>());
    number.map_or_else(|| refused("version", "must be the version of a configuration, a whole number"), Ok)
}

fn texts(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<Vec<String>> {
    let is_text = value.is_instance_of::<PyString>();
    let lines = value.extract::<Vec<String>>().ok().filter(|_| !is_text);
    lines.map_or_else(|| refused(argument, "must be a list of texts"), Ok)
}

fn configuration(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<Configuration> {
    Configuration::parse(&texts(argument, value)?.join("\n")).map_err(|error| match error {
        Error::Argument { reason, .. } => Error::argument(argument, reason),
        other => other,
    })
}

/// A configuration that somebody wants: of what means nothing there a server would make nothing, and who was meant by it
/// would be removed.
fn wanted(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<Configuration> {
    let lines = texts(argument, value)?;
    let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
    let found = Configuration::parse(&lines.join("\n")).map_err(|error| match error {
        Error::Argument { reason, .. } => Error::argument(argument, reason),
        other => other,
    })?;
    match found.lines.iter().find(|line| matches!(line, Line::Other(_))) {
        Some(line) => refused(argument, &format!("{:?} is no line of a configuration", line.to_string())),
        None => Ok(found),
    }
}

fn shown(py: Python<'_>, configuration: &Configuration) -> PyResult<Py<PyAny>> {
    plain(py, (configuration.texts(), configuration.version))
}

/// Who is in the ensemble: the lines of the configuration, and its version.
#[pyfunction]
pub(super) fn ensemble_config<'py>(
    py: Python<'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let work = |client, budget| async move { change::configuration(&client, &budget).await };
    call.run(py, "/zookeeper/config", Purpose::Asks, work, |py, found| shown(py, &found))
}

/// What every server says of itself.
#[pyfunction]
pub(super) fn ensemble_status<'py>(
    py: Python<'py>,
    admin_port: Given<'_, 'py>,
    clocks: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (port, clocks) = (self::admin_port(admin_port)?, flag("clocks", clocks)?);
    let work = move |client, budget| async move { status::status(&client, port, clocks, &budget).await };
    call.run(py, "the ensemble", Purpose::Asks, work, |py, found| {
        Ok(pythonize(py, &found).map_err(|error| Error::Internal(error.to_string()))?.unbind())
    })
}

/// The server that leads.
#[pyfunction]
pub(super) fn ensemble_leader<'py>(
    py: Python<'py>,
    admin_port: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let port = self::admin_port(admin_port)?;
    let work = move |client, budget| async move { status::leader(&client, port, &budget).await };
    call.run(py, "the leader", Purpose::Asks, work, plain)
}

/// The answer of each server to a word: (server, origin, fields), or (server, None, exception).
#[pyfunction]
pub(super) fn ensemble_ask<'py>(
    py: Python<'py>,
    word: &Bound<'py, PyAny>,
    admin_port: Given<'_, 'py>,
    hurried: bool,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (word, port) = (text("word", word)?, self::admin_port(admin_port)?);
    let about = word.clone();
    let work = move |client, budget| async move { status::ask(&client, &word, port, hurried, &budget).await };
    call.run(py, &about, Purpose::Asks, work, |py, answers| {
        let found = PyList::empty(py);
        for (host, answer) in answers {
            match answer {
                Ok((origin, fields)) => {
                    let named = PyDict::new(py);
                    fields.into_iter().try_for_each(|(name, value)| named.set_item(name, value))?;
                    found.append((host, origin, named))?;
                }
                Err(error) => found.append((host, py.None(), PyErr::from(error).into_value(py)))?,
            }
        }
        Ok(found.into_any().unbind())
    })
}

fn step_of(kind: &str, argument: &Bound<'_, PyAny>) -> Result<Step> {
    match kind {
        "join" => Ok(Step::Join(Member::parse(&text("member", argument)?)?)),
        "leave" => match argument.cast::<PyString>().ok().and_then(|text| text.to_str().ok()) {
            Some(line) if line.contains('=') => Ok(Step::LeaveOnly(Member::parse(line)?)),
            _ => Ok(Step::Leave(id("member", argument)?)),
        },
        _ => Ok(Step::Whole(wanted("members", argument)?)),
    }
}

/// Takes a step: `join` with a member, `leave` with an id or a member, `whole` with all lines.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn ensemble_step<'py>(
    py: Python<'py>,
    kind: &str,
    argument: &Bound<'py, PyAny>,
    version: Given<'_, 'py>,
    only_decide: Given<'_, 'py>,
    admin_port: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let step = step_of(kind, argument)?;
    let only_decide = flag("only_decide", only_decide)?;
    let terms =
        Terms { admin_port: self::admin_port(admin_port)?, from: version.map(at_version).transpose()?, only_decide };
    let work = move |client, budget| async move { change::step(&client, &step, terms, &budget).await };
    call.run(py, "/zookeeper/config", Purpose::Changes, work, |py, Changed { is_changed, configuration }| {
        plain(py, (is_changed, shown(py, &configuration)?))
    })
}

/// Waits until members are in sync: these, or all.
#[pyfunction]
pub(super) fn ensemble_wait<'py>(
    py: Python<'py>,
    ids: Given<'_, 'py>,
    admin_port: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let ids = match ids {
        None => None,
        Some(ids) => {
            let Ok(each) = ids.try_iter() else { return Err(Error::argument("ids", "must be a list of ids").into()) };
            Some(each.map(|each| Ok(id("ids", &each?)?)).collect::<PyResult<_>>()?)
        }
    };
    let port = self::admin_port(admin_port)?;
    let work = move |client, budget| async move { change::wait(&client, ids.as_ref(), port, &budget).await };
    call.run(py, "the ensemble", Purpose::Changes, work, |py, found| shown(py, &found))
}

/// A znode and all below it, as paths below the chroot.
#[pyfunction]
pub(super) fn ensemble_tree<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let settings = call.settings.clone();
    let full = settings.any_path(&text("path", path)?)?;
    let about = full.clone();
    let work = |client, budget| async move { tree::tree(&client, &full, &budget).await };
    call.run(py, &about, Purpose::Asks, work, |py, found| {
        let shown = found.iter().map(|path| settings.shown(path)).filter(|path| path != "/");
        plain(py, shown.collect::<Vec<_>>())
    })
}

/// What a line says of a member: its id, its role, where clients find it (`host:port`, if it says so), and on which host.
#[pyfunction]
pub(super) fn ensemble_member<'py>(py: Python<'py>, line: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
    let member = Member::parse(&text("member", line)?)?;
    plain(py, (member.id, member.role().name(), member.client_server(), member.client_host(), member.to_string()))
}

/// The steps from a configuration to exactly these members: (`join`, line) or (`leave`, id).
#[pyfunction]
pub(super) fn ensemble_steps<'py>(
    py: Python<'py>,
    now: &Bound<'py, PyAny>,
    wanted: &Bound<'py, PyAny>,
    leader: Option<i64>,
) -> PyResult<Py<PyAny>> {
    let now = configuration("config", now)?;
    let members = texts("members", wanted)?;
    let members = members.iter().map(|line| Member::parse(line)).collect::<Result<Vec<_>>>()?;
    if let Some(twice) =
        members.iter().enumerate().find(|(at, it)| members[..*at].iter().any(|other| other.id == it.id))
    {
        return Err(Error::argument("members", format!("id {} is there twice", twice.1.id)).into());
    }
    let found = PyList::empty(py);
    for step in steps(&now, &members, leader) {
        match step {
            Step::Join(member) => found.append(("join", member.to_string()))?,
            Step::Leave(id) => found.append(("leave", id))?,
            Step::LeaveOnly(_) | Step::Whole(_) => {}
        }
    }
    Ok(found.into_any().unbind())
}
