//! The records of timed leases, and what goes by their owners' names.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pythonize::pythonize;

use super::arguments::{bytes, scalar, seconds, text, Given};
use super::call::{plain, Call, Purpose};
use super::timed_lease::left;
use crate::client::Client;
use crate::error::Error;
use crate::recipe::timed_lease::clock::Moment;
use crate::recipe::timed_lease::{self as leases, claim, LockRecord, Whose};
use crate::wait::Budget;

/// Holder, seconds, acquired, renewed, transitions, and the other members, by name, as JSON.
type RecordOf = (String, u64, Option<String>, Option<String>, i64, Vec<(String, String)>);

fn record(value: &Bound<'_, PyAny>) -> PyResult<LockRecord> {
    Ok(LockRecord::given(&bytes(value)?)?)
}

/// Reads a record's JSON. `path`: of the znode that holds it, for the message; none where the caller gives it.
#[pyfunction]
#[pyo3(signature = (path, data))]
pub(super) fn lease_parse(path: Option<&str>, data: &Bound<'_, PyAny>) -> PyResult<RecordOf> {
    let record = match path {
        Some(path) => LockRecord::from_json(path, &bytes(data)?)?,
        None => record(data)?,
    };
    let seconds = leases::lock_record::whole_seconds(record.duration);
    let more = record.other_members();
    Ok((record.holder, seconds, record.acquired, record.renewed, record.transitions, more))
}

/// Writes a record's JSON.
#[pyfunction]
pub(super) fn lease_format(record: RecordOf) -> PyResult<String> {
    let (holder, seconds, acquired, renewed, transitions, more) = record;
    Ok(LockRecord::of_members(holder, seconds, acquired, renewed, transitions, more)?.to_json())
}

/// The path of a lease, and how people say it.
#[pyfunction]
pub(super) fn lease_path(path: &Bound<'_, PyAny>) -> PyResult<(String, String)> {
    let path = crate::path::normalise(&leases::names::lower_cased(&text("path", path)?))?;
    let described = leases::names::described(&path);
    Ok((path, described))
}

/// Reads a record: its data and its version, or `None`.
#[pyfunction]
pub(super) fn lease_get<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let path = claim::lease_path(&call.settings, &text("path", path)?)?;
    let about = path.clone();
    let work = |client: Client, budget: Budget| async move { leases::get(&client, &path, &budget).await };
    call.run(py, &about, Purpose::Asks, work, |py, read: Option<leases::Read>| match read {
        None => plain(py, py.None()),
        Some(read) => plain(py, (PyBytes::new(py, &read.data), read.version)),
    })
}

/// Creates a record.
#[pyfunction]
pub(super) fn lease_create<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    data: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (path, new) = (claim::lease_path(&call.settings, &text("path", path)?)?, record(data)?);
    let (about, acl) = (path.clone(), call.settings.acl.clone());
    let work =
        |client: Client, budget: Budget| async move { leases::create(&client, &path, &new, &acl, &budget).await };
    call.run(py, &about, Purpose::Changes, work, |py, ()| Ok(py.None()))
}

/// Writes a record over the one at a version: the data that are there now, and their version.
#[pyfunction]
pub(super) fn lease_update<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    data: &Bound<'py, PyAny>,
    version: i32,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (path, new) = (claim::lease_path(&call.settings, &text("path", path)?)?, record(data)?);
    let (about, acl) = (path.clone(), call.settings.acl.clone());
    let work = |client: Client, budget: Budget| async move {
        leases::update(&client, &path, &new, version, &acl, &budget).await
    };
    call.run(py, &about, Purpose::Changes, work, |py, read: leases::Read| {
        plain(py, (PyBytes::new(py, &read.data), read.version))
    })
}

/// Renews the lease that an owner holds by name: for how many seconds from now on. `None`: the owner does not hold it.
#[pyfunction]
pub(super) fn lease_renew<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    who: &Bound<'py, PyAny>,
    duration: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let path = claim::lease_path(&call.settings, &text("path", path)?)?;
    let owner = claim::named(scalar("owner", who)?)?;
    let duration = duration.map(|it| seconds("lease_duration", it).and_then(claim::lasting)).transpose()?;
    let (about, acl) = (path.clone(), call.settings.acl.clone());
    let work = |client: Client, budget: Budget| async move {
        leases::renew_by_name(&client, &path, &owner, duration, &acl, &budget).await
    };
    let answer = |py, ends: Option<Moment>| plain(py, ends.map(left));
    call.run(py, &about, Purpose::Changes, work, answer)
}

/// Gives back the lease of an owner, or of whoever has it where none is named: whose it was. `None`: it was not held so.
#[pyfunction]
pub(super) fn lease_release<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    who: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let path = claim::lease_path(&call.settings, &text("path", path)?)?;
    let owner = who.map(|who| scalar("owner", who).and_then(claim::named)).transpose()?;
    let (about, acl) = (path.clone(), call.settings.acl.clone());
    let work = |client: Client, budget: Budget| async move {
        let whose = owner.as_deref().map_or(Whose::Anybody, Whose::Owner);
        leases::release(&client, &whose, &path, &acl, None, &budget).await
    };
    call.run(py, &about, Purpose::Changes, work, plain)
}

/// Who holds a lease since when and until when, and who waits.
#[pyfunction]
pub(super) fn lease_status<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let settings = call.settings.clone();
    let path = claim::lease_path(&settings, &text("path", path)?)?;
    let about = path.clone();
    let work = |client: Client, budget: Budget| async move { leases::status(&client, &path, &budget).await };
    call.run(py, &about, Purpose::Asks, work, |py, mut status: leases::Status| {
        status.path = settings.shown(&status.path);
        let status = pythonize(py, &status).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(status.unbind())
    })
}

/// The leases right below a path.
#[pyfunction]
pub(super) fn lease_list<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let settings = call.settings.clone();
    let path = settings.any_path(&text("path", path)?)?;
    let about = path.clone();
    let work = |client: Client, budget: Budget| async move { leases::below(&client, &path, &budget).await };
    call.run(py, &about, Purpose::Asks, work, |py, mut found: Vec<leases::Summary>| {
        for lease in &mut found {
            lease.path = settings.shown(&lease.path);
        }
        let found = pythonize(py, &found).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(found.unbind())
    })
}
