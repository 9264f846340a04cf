//! `party_members`.

use pyo3::prelude::*;

use super::arguments::{count, flag, text, Given};
use super::call::{plain, Call, Purpose};
use crate::recipe::party;

/// Lists who is present, and waits for enough of them if asked to.
#[pyfunction]
pub(super) fn party_members<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    min_nodes: Given<'_, 'py>,
    blocking: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let party = call.settings.path(&text("path", path)?)?;
    let (enough, blocking) = (count("min_nodes", min_nodes, 1, 0)?, flag("blocking", blocking)?);
    let purpose = if blocking { Purpose::Waits } else { Purpose::Asks };
    let about = party.clone();
    let work = |client, budget| async move {
        if blocking {
            party::gather(&client, &party, enough as usize, &budget).await
        } else {
            party::members(&client, &party, &budget).await
        }
    };
    call.run(py, &about, purpose, work, plain)
}
