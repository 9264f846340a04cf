//! `party_members`, `party_join`, `party_leave`.

use pyo3::prelude::*;

use super::arguments::{count, flag, identifier, text, Given};
use super::call::{plain, Call, Purpose, Undo};
use super::hold::Hold;
use crate::recipe::party::{self, Joined, Joining};
use crate::recipe::semaphore;

/// Makes an identifier a member: a hold where this call has made one, or else `true`. `own`: a member of its own in any
/// case.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn party_join<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    who: Given<'_, 'py>,
    ephemeral: Given<'_, 'py>,
    shallow: Given<'_, 'py>,
    own: bool,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let settings = call.settings.clone();
    let (party, who) = (settings.path(&text("path", path)?)?, identifier(who)?);
    let (ephemeral, shallow) = (flag("ephemeral", ephemeral)?, flag("shallow", shallow)?);
    let joining = Joining::new(party, who, shallow, ephemeral, settings.acl.clone())?;
    let about = joining.party.clone();
    let undo = |joined: &Joined, client, by| {
        let Joined::New(member) = joined else { return None };
        let member = member.clone();
        Some(Box::pin(async move { semaphore::undo(&client, &member, by).await }) as Undo)
    };
    let work = |client, budget| async move { party::join(&client, &joining, own, &budget).await };
    call.run_with(py, &about, Purpose::Changes, None, work, undo, |py, joined| match joined {
        Joined::New(member) => plain(py, Py::new(py, Hold::new(settings, member))?),
        Joined::Already => plain(py, true),
    })
}

/// Removes all members of an identifier.
#[pyfunction]
pub(super) fn party_leave<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    who: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (party, who) = (call.settings.path(&text("path", path)?)?, identifier(who)?);
    let about = party.clone();
    let work = |client, budget| async move { party::leave(&client, &party, &who, &budget).await };
    call.run(py, &about, Purpose::Changes, work, plain)
}

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
