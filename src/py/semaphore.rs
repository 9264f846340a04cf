//! `acquire`, `unlock`, `lock_holders`.

use pyo3::prelude::*;

use super::arguments::{flag, identifier, limit, scalar, text, Given};
use super::call::{plain, to_python, Call, Listener, Purpose, Undo};
use super::hold::Hold;
use crate::connect::settings::Settings;
use crate::error::Result;
use crate::recipe::semaphore::{self, Acquired, Claim, Eviction, Reason};

fn claim(
    settings: &Settings,
    path: &Bound<'_, PyAny>,
    who: Given<'_, '_>,
    max_concurrency: Given<'_, '_>,
    ephemeral: Given<'_, '_>,
) -> Result<Claim> {
    let (path, identifier) = (text("path", path)?, identifier(who)?);
    let limit = limit(max_concurrency)?;
    Claim::new(settings, &path, identifier, limit, flag("ephemeral_lease", ephemeral)?)
}

/// Takes a slot: a hold where this call has taken a lease, or else whether the identifier holds one. `own`: a lease of
/// its own in any case.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn acquire<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    who: Given<'_, 'py>,
    max_concurrency: Given<'_, 'py>,
    ephemeral: Given<'_, 'py>,
    force: Given<'_, 'py>,
    own: bool,
    reason: Given<'_, 'py>,
    job: Given<'_, 'py>,
    on_position: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let claim = claim(&call.settings, path, who, max_concurrency, ephemeral)?;
    let claim = if own { claim.of_its_own() } else { claim };
    let job = job.map(|job| scalar("job", job)).transpose()?;
    let reason = reason.map(|reason| Reason::new(scalar("reason", reason)?, job)).transpose()?;
    let claim = claim.because(reason);
    let force = flag("force", force)?;
    let (positions, listener) = match on_position {
        Some(callable) => Listener::new(callable).map(|(positions, listener)| (Some(positions), Some(listener)))?,
        None => (None, None),
    };
    let (settings, pool) = (call.settings.clone(), claim.pool.clone());
    let undo = |acquired: &Acquired, client, by| {
        let Acquired::Taken(taken) = acquired else { return None };
        let taken = taken.clone();
        Some(Box::pin(async move { semaphore::undo(&client, &taken, by).await }) as Undo)
    };
    let answer = |py: Python<'_>, acquired| match acquired {
        Acquired::Taken(taken) => plain(py, Py::new(py, Hold::new(settings, taken))?),
        Acquired::Already => plain(py, true),
        Acquired::No => plain(py, false),
    };
    let purpose = if force { Purpose::Changes } else { Purpose::Waits };
    call.run_with(
        py,
        &pool,
        purpose,
        listener,
        |client, budget| async move {
            if force {
                semaphore::force(&client, claim, &budget).await
            } else {
                semaphore::acquire(&client, claim, &budget, positions).await
            }
        },
        undo,
        answer,
    )
}

/// Gives the slot of an identifier back.
#[pyfunction]
pub(super) fn unlock<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    who: Given<'_, 'py>,
    max_concurrency: Given<'_, 'py>,
    ephemeral: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let claim = claim(&call.settings, path, who, max_concurrency, ephemeral)?;
    let pool = claim.pool.clone();
    let work = |client, budget| async move { semaphore::unlock(&client, &claim, &budget).await };
    call.run(py, &pool, Purpose::Changes, work, plain)
}

/// Takes the slot of an identifier away, and says who did it.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn evict<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    who: &Bound<'py, PyAny>,
    reason: &Bound<'py, PyAny>,
    by: Given<'_, 'py>,
    job: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let (path, who) = (text("path", path)?, scalar("identifier", who)?);
    let claim = Claim::new(&call.settings, &path, who, None, false)?;
    let by = by.map(|by| scalar("by", by)).transpose()?;
    let job = job.map(|job| scalar("job", job)).transpose()?;
    let eviction = Eviction::new(by, scalar("reason", reason)?, job)?;
    let pool = claim.pool.clone();
    let work = |client, budget| async move { semaphore::evict(&client, &claim, &eviction, &budget).await };
    call.run(py, &pool, Purpose::Changes, work, to_python)
}

/// Lists the identifiers that hold a slot.
#[pyfunction]
pub(super) fn lock_holders<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    who: Given<'_, 'py>,
    max_concurrency: Given<'_, 'py>,
    ephemeral: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let pool = claim(&call.settings, path, who, max_concurrency, ephemeral)?.pool;
    let about = pool.clone();
    let work = |client, budget| async move { semaphore::holders(&client, &pool, &budget).await };
    call.run(py, &about, Purpose::Asks, work, plain)
}
