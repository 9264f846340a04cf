//! The calls of a coordinator: requests, grants, and who holds and waits.

use std::collections::BTreeSet;
use std::time::SystemTime;

use pyo3::prelude::*;
use pythonize::depythonize;
use serde_json::Value;

use super::arguments::{flag, scalar, seconds, text, Given};
use super::call::{plain, to_python, Call, Purpose};
use crate::error::{Error, Result};
use crate::recipe::coordinator::document::{self, Asked};
use crate::recipe::coordinator::policy::Policy;
use crate::recipe::coordinator::{self, Ask, Home, Lock};

/// The root, and the key below it.
type HomeKey<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

fn home_of(call: &Call, (root, key): &HomeKey<'_>) -> Result<Home> {
    Home::new(&call.settings, &text("root", root)?, &scalar("key", key)?)
}

fn lock(call: &Call, home: &HomeKey<'_>, name: &Bound<'_, PyAny>) -> Result<Lock> {
    home_of(call, home)?.lock(&scalar("lock", name)?)
}

fn json(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<Value> {
    depythonize(value).map_err(|_| Error::argument(argument, "must be made of texts, numbers, lists and mappings"))
}

fn policy(value: &Bound<'_, PyAny>) -> Result<Policy> {
    Policy::parse(&json("policy", value)?)
}

fn optional(argument: &'static str, value: Given<'_, '_>) -> Result<Option<String>> {
    Ok(value.map(|value| scalar(argument, value)).transpose()?.filter(|text| !text.is_empty()))
}

/// Files a request, unless there is one, and decides.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn coordinator_acquire<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    name: &Bound<'py, PyAny>,
    unit: &Bound<'py, PyAny>,
    policy: &Bound<'py, PyAny>,
    reason: Given<'_, 'py>,
    labels: Given<'_, 'py>,
    expires: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let lock = lock(&call, &home, name)?;
    let labels = labels.map(|value| document::labels(&json("labels", value)?)).transpose()?;
    let asked = Asked {
        asked: Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
        reason: optional("reason", reason)?,
        labels: labels.unwrap_or_default(),
        expires: expires.map(|value| seconds("expires", value)).transpose()?.map(|time| time.as_secs_f64()),
    };
    let ask = Ask { unit: scalar("unit", unit)?, policy: self::policy(policy)?, asked };
    let about = lock.requests.clone();
    let work = |client, budget| async move { coordinator::acquire(&client, &lock, &ask, &budget).await };
    call.run(py, &about, Purpose::Changes, work, to_python)
}

/// What a request would come to.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn coordinator_foretell<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    name: &Bound<'py, PyAny>,
    unit: &Bound<'py, PyAny>,
    policy: &Bound<'py, PyAny>,
    labels: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let lock = lock(&call, &home, name)?;
    let labels = labels.map(|value| document::labels(&json("labels", value)?)).transpose()?;
    let asked = Asked { labels: labels.unwrap_or_default(), ..Asked::default() };
    let ask = Ask { unit: scalar("unit", unit)?, policy: self::policy(policy)?, asked };
    let about = lock.requests.clone();
    let work = |client, budget| async move { coordinator::foretell(&client, &lock, &ask, &budget).await };
    call.run(py, &about, Purpose::Asks, work, to_python)
}

/// Decides what is granted now, and drops what has expired if asked to.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn coordinator_settle<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    name: &Bound<'py, PyAny>,
    by: &Bound<'py, PyAny>,
    drops: Given<'_, 'py>,
    seen: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (lock, by, drops) = (lock(&call, &home, name)?, scalar("by", by)?, flag("drops", drops)?);
    let about = lock.requests.clone();
    let seen = optional("seen", seen)?;
    let work = move |client, budget| async move {
        coordinator::settle(&client, &lock, &by, drops, seen.as_deref(), &budget).await
    };
    call.run(py, &about, Purpose::Changes, work, to_python)
}

/// Removes a request, granted or not.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn coordinator_release<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    name: &Bound<'py, PyAny>,
    unit: &Bound<'py, PyAny>,
    request: Option<i64>,
    by: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (lock, unit, by) = (lock(&call, &home, name)?, scalar("unit", unit)?, scalar("by", by)?);
    let about = lock.requests.clone();
    let work =
        move |client, budget| async move { coordinator::release(&client, &lock, &unit, request, &by, &budget).await };
    call.run(py, &about, Purpose::Changes, work, to_python)
}

/// Grants a lock whatever the policy says.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn coordinator_grant<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    name: &Bound<'py, PyAny>,
    unit: &Bound<'py, PyAny>,
    by: &Bound<'py, PyAny>,
    reason: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (lock, unit, by) = (lock(&call, &home, name)?, scalar("unit", unit)?, scalar("by", by)?);
    let reason = optional("reason", reason)?;
    let about = lock.requests.clone();
    let work = |client, budget| async move {
        coordinator::grant(&client, &lock, &unit, &by, reason.as_deref(), &budget).await
    };
    call.run(py, &about, Purpose::Changes, work, to_python)
}

/// Grants a lock to those whom a program has chosen, if nobody has granted it meanwhile.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn coordinator_grant_if<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    name: &Bound<'py, PyAny>,
    custom: String,
    version: i32,
    units: BTreeSet<String>,
    by: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (lock, by) = (lock(&call, &home, name)?, scalar("by", by)?);
    let about = lock.requests.clone();
    let work = move |client, budget| async move {
        coordinator::grant_if(&client, &lock, &custom, version, &units, &by, &budget).await
    };
    call.run(py, &about, Purpose::Changes, work, to_python)
}

/// Changes the policy of a lock: the one before in words.
#[pyfunction]
pub(super) fn coordinator_set_policy<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    name: &Bound<'py, PyAny>,
    policy: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (lock, policy) = (lock(&call, &home, name)?, self::policy(policy)?);
    let about = lock.requests.clone();
    let work = |client, budget| async move { coordinator::set_policy(&client, &lock, &policy, &budget).await };
    call.run(py, &about, Purpose::Changes, work, plain)
}

/// Who is granted a lock, and who waits for it.
#[pyfunction]
pub(super) fn coordinator_queue<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    name: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let lock = lock(&call, &home, name)?;
    let about = lock.requests.clone();
    let work = |client, budget| async move { coordinator::queue(&client, &lock, &budget).await };
    call.run(py, &about, Purpose::Asks, work, to_python)
}

/// The locks that anybody has asked for.
#[pyfunction]
pub(super) fn coordinator_locks<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let home = home_of(&call, &home)?;
    let about = home.path.clone();
    let work = |client, budget| async move { coordinator::locks(&client, &home, &budget).await };
    call.run(py, &about, Purpose::Asks, work, plain)
}

/// Waits until a unit is granted more than it knows.
#[pyfunction]
pub(super) fn coordinator_granted<'py>(
    py: Python<'py>,
    home: HomeKey<'py>,
    unit: &Bound<'py, PyAny>,
    known: BTreeSet<i64>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (home, unit) = (home_of(&call, &home)?, scalar("unit", unit)?);
    let about = home.path.clone();
    let work = move |client, budget| async move { coordinator::granted(&client, &home, &unit, &known, &budget).await };
    call.run(py, &about, Purpose::Waits, work, to_python)
}
