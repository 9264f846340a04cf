//! `status` and `set_max`.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::pythonize;
use serde::Serialize;

use super::convert::{count, text, Common};
use super::runtime::call;
use crate::ensemble::Ensemble;
use crate::error::Error;
use crate::recipe::semaphore::Claim;
use crate::recipe::status;
use crate::wait::Budget;

/// Tells who holds a slot since when, and who waits. See the stub for the whole story.
#[pyfunction]
#[pyo3(name = "status", signature = (path, **connection))]
pub(super) fn pool_status<'py>(
    path: &Bound<'py, PyAny>,
    connection: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let common = Common::from_keywords(connection)?;
    let pool = common.settings.path(&text("path", path)?)?;
    let status = call(path.py(), common.raise_on_signal, |registry, cancel| async move {
        let budget = Budget::answer(common.patience, common.settings.connect_timeout, cancel);
        status::status(&Ensemble::new(registry, common.settings), &pool, &budget).await
    })?;
    to_python(path.py(), &status)
}

/// Changes the limit that a pool stores. See the stub for the whole story.
#[pyfunction]
#[pyo3(signature = (path, max_concurrency, **connection))]
pub(super) fn set_max<'py>(
    path: &Bound<'py, PyAny>,
    max_concurrency: &Bound<'py, PyAny>,
    connection: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let common = Common::from_keywords(connection)?;
    let limit = count("max_concurrency", Some(max_concurrency), 1, 1)?;
    let claim = Claim::new(&common.settings, &text("path", path)?, String::new(), limit, false)?;
    let change = call(path.py(), common.raise_on_signal, |registry, cancel| async move {
        let budget = Budget::answer(common.patience, common.settings.connect_timeout, cancel);
        status::set_max(&Ensemble::new(registry, common.settings), &claim, &budget).await
    })?;
    to_python(path.py(), &change)
}

fn to_python<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    pythonize(py, value).map_err(|error| Error::Internal(error.to_string()).into())
}
