//! `status`, `set_max`, `pools` and `remove_pool`.

use pyo3::prelude::*;

use super::arguments::{count, text};
use super::call::{plain, to_python, Call, Purpose};
use crate::recipe::semaphore::{self, Claim};

/// Returns who holds a slot since when, and who waits.
#[pyfunction]
#[pyo3(name = "status")]
pub(super) fn pool_status<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let pool = call.settings.path(&text("path", path)?)?;
    let about = pool.clone();
    let work = |client, budget| async move { semaphore::status(&client, &pool, &budget).await };
    call.run(py, &about, Purpose::Asks, work, to_python)
}

/// Who holds a slot, and the path, below the chroot, of a queue node of no session that blocks the queue.
#[pyfunction]
pub(super) fn obstacles<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let settings = call.settings.clone();
    let pool = settings.path(&text("path", path)?)?;
    let about = pool.clone();
    let work = |client, budget| async move { semaphore::obstacles(&client, &pool, &budget).await };
    call.run(py, &about, Purpose::Asks, work, |py, found| {
        plain(py, (found.holders, found.orphan.map(|orphan| settings.shown(&orphan))))
    })
}

/// Changes the limit that a pool stores.
#[pyfunction]
pub(super) fn set_max<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    max_concurrency: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let limit = count("max_concurrency", Some(max_concurrency), 1, 1)?;
    let claim = Claim::new(&call.settings, &text("path", path)?, String::new(), None, false)?;
    let about = claim.pool.clone();
    let work = |client, budget| async move { semaphore::set_max(&client, &claim, limit, &budget).await };
    call.run(py, &about, Purpose::Changes, work, to_python)
}

/// Lists the pools below a znode, by their paths below the chroot.
#[pyfunction]
pub(super) fn pools<'py>(
    py: Python<'py>,
    root: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let settings = call.settings.clone();
    let root = settings.any_path(&text("root", root)?)?;
    let about = root.clone();
    let work = |client, budget| async move { semaphore::pools(&client, &root, &budget).await };
    call.run(py, &about, Purpose::Asks, work, |py, mut found: Vec<semaphore::Listed>| {
        semaphore::below_chroot(&mut found, &settings);
        to_python(py, found)
    })
}

/// The pools at the side of a path at which there is none, by their paths below the chroot; `None`: there is one.
#[pyfunction]
pub(super) fn neighbours<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let settings = call.settings.clone();
    let pool = settings.path(&text("path", path)?)?;
    let about = pool.clone();
    let work = |client, budget| async move { semaphore::neighbours(&client, &pool, &budget).await };
    call.run(py, &about, Purpose::Asks, work, |py, found: Option<Vec<String>>| {
        let shown = found.map(|found| found.iter().map(|path| settings.shown(path)).collect::<Vec<_>>());
        plain(py, shown)
    })
}

/// Removes a pool that nobody uses.
#[pyfunction]
pub(super) fn remove_pool<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let pool = call.settings.path(&text("path", path)?)?;
    let about = pool.clone();
    let work = |client, budget| async move { semaphore::remove_pool(&client, &pool, &budget).await };
    call.run(py, &about, Purpose::Changes, work, plain)
}
