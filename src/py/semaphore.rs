//! `lock`, `unlock`, `lock_holders`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert::{count, flag, identifier, patience, text, Connection, Given};
use super::runtime::{call, call_with, Listener, Undo};
use super::security::Security;
use crate::ensemble::Ensemble;
use crate::error::Result;
use crate::recipe::semaphore::{self, Acquired, Claim};
use crate::settings::Settings;
use crate::wait::Budget;

fn claim(
    settings: &Settings,
    path: &Bound<'_, PyAny>,
    who: Given<'_, '_>,
    max_concurrency: Given<'_, '_>,
    ephemeral_lease: Given<'_, '_>,
) -> Result<Claim> {
    let (path, identifier) = (text("path", path)?, identifier(who)?);
    let limit = count("max_concurrency", max_concurrency, 1, 1)?;
    Claim::new(settings, &path, identifier, limit, flag("ephemeral_lease", ephemeral_lease)?)
}

/// Takes a slot on a path, and waits for one if need be. See the stub for the whole story.
#[pyfunction]
#[pyo3(
    signature = (path, zk_hosts=None, identifier=None, max_concurrency=None, timeout=None, ephemeral_lease=None,
                 force=None, profile=None, scheme=None, username=None, password=None, default_acl=None, *,
                 config_get=None, raise_on_signal=None, on_position=None, **security),
    text_signature = "(path, zk_hosts=None, identifier=None, max_concurrency=1, timeout=None, \
                      ephemeral_lease=False, force=False, profile=None, scheme=None, username=None, \
                      password=None, default_acl=None, *, config_get=None, raise_on_signal=False, \
                      on_position=None, \
                      mechanism=None, use_ssl=None, ca_certs=None, certfile=None, keyfile=None, \
                      keyfile_password=None, verify_certs=None)"
)]
#[allow(clippy::too_many_arguments)]
pub(super) fn lock<'py>(
    path: &Bound<'py, PyAny>,
    zk_hosts: Given<'_, 'py>,
    identifier: Given<'_, 'py>,
    max_concurrency: Given<'_, 'py>,
    timeout: Given<'_, 'py>,
    ephemeral_lease: Given<'_, 'py>,
    force: Given<'_, 'py>,
    profile: Given<'_, 'py>,
    scheme: Given<'_, 'py>,
    username: Given<'_, 'py>,
    password: Given<'_, 'py>,
    default_acl: Given<'_, 'py>,
    config_get: Given<'_, 'py>,
    raise_on_signal: Given<'_, 'py>,
    on_position: Given<'_, 'py>,
    security: Option<&Bound<'py, PyDict>>,
) -> PyResult<bool> {
    let security = Security::from_keywords(security)?;
    let connection =
        Connection { hosts: zk_hosts, profile, scheme, username, password, default_acl, config_get, security };
    let settings = connection.settings()?;
    let claim = claim(&settings, path, identifier, max_concurrency, ephemeral_lease)?;
    let (patience, force) = (patience(timeout)?, flag("force", force)?);
    let (positions, listener) = match on_position {
        Some(callable) => Listener::new(callable).map(|(positions, listener)| (Some(positions), Some(listener)))?,
        None => (None, None),
    };
    let raise_on_signal = flag("raise_on_signal", raise_on_signal)?;
    let (undo_settings, undo_claim) = (settings.clone(), claim.clone());
    let undo = |acquired: &Acquired, registry| {
        (*acquired == Acquired::Taken).then(|| {
            let undoing = async move { semaphore::undo(&Ensemble::new(registry, undo_settings), &undo_claim).await };
            Box::pin(undoing) as Undo
        })
    };
    let start = |registry, cancel| async move {
        let connect_timeout = settings.connect_timeout;
        let ensemble = Ensemble::new(registry, settings);
        if force {
            semaphore::force(&ensemble, claim, &Budget::answer(patience, connect_timeout, cancel)).await
        } else {
            let budget = Budget::waiting(patience, connect_timeout, cancel);
            semaphore::acquire(&ensemble, claim, &budget, positions).await
        }
    };
    Ok(call_with(path.py(), raise_on_signal, listener, start, undo)? != Acquired::No)
}

/// Gives the slot of an identifier back. See the stub for the whole story.
#[pyfunction]
#[pyo3(
    signature = (path, zk_hosts=None, identifier=None, max_concurrency=None, ephemeral_lease=None, scheme=None,
                 profile=None, username=None, password=None, default_acl=None, *, timeout=None, config_get=None,
                 raise_on_signal=None, **security),
    text_signature = "(path, zk_hosts=None, identifier=None, max_concurrency=1, ephemeral_lease=False, \
                      scheme=None, profile=None, username=None, password=None, default_acl=None, *, \
                      timeout=None, config_get=None, raise_on_signal=False, \
                      mechanism=None, use_ssl=None, ca_certs=None, certfile=None, keyfile=None, \
                      keyfile_password=None, verify_certs=None)"
)]
#[allow(clippy::too_many_arguments)]
pub(super) fn unlock<'py>(
    path: &Bound<'py, PyAny>,
    zk_hosts: Given<'_, 'py>,
    identifier: Given<'_, 'py>,
    max_concurrency: Given<'_, 'py>,
    ephemeral_lease: Given<'_, 'py>,
    scheme: Given<'_, 'py>,
    profile: Given<'_, 'py>,
    username: Given<'_, 'py>,
    password: Given<'_, 'py>,
    default_acl: Given<'_, 'py>,
    timeout: Given<'_, 'py>,
    config_get: Given<'_, 'py>,
    raise_on_signal: Given<'_, 'py>,
    security: Option<&Bound<'py, PyDict>>,
) -> PyResult<bool> {
    let security = Security::from_keywords(security)?;
    let connection =
        Connection { hosts: zk_hosts, profile, scheme, username, password, default_acl, config_get, security };
    let settings = connection.settings()?;
    let claim = claim(&settings, path, identifier, max_concurrency, ephemeral_lease)?;
    let patience = patience(timeout)?;
    let raise_on_signal = flag("raise_on_signal", raise_on_signal)?;
    call(path.py(), raise_on_signal, |registry, cancel| async move {
        let budget = Budget::answer(patience, settings.connect_timeout, cancel);
        semaphore::release(&Ensemble::new(registry, settings), &claim, &budget).await
    })
}

/// Lists the identifiers that hold a slot. See the stub for the whole story.
#[pyfunction]
#[pyo3(
    signature = (path, zk_hosts=None, identifier=None, max_concurrency=None, timeout=None, ephemeral_lease=None,
                 profile=None, scheme=None, username=None, password=None, default_acl=None, *, config_get=None,
                 raise_on_signal=None, **security),
    text_signature = "(path, zk_hosts=None, identifier=None, max_concurrency=1, timeout=None, \
                      ephemeral_lease=False, profile=None, scheme=None, username=None, password=None, \
                      default_acl=None, *, config_get=None, raise_on_signal=False, \
                      mechanism=None, use_ssl=None, ca_certs=None, certfile=None, keyfile=None, \
                      keyfile_password=None, verify_certs=None)"
)]
#[allow(clippy::too_many_arguments)]
pub(super) fn lock_holders<'py>(
    path: &Bound<'py, PyAny>,
    zk_hosts: Given<'_, 'py>,
    identifier: Given<'_, 'py>,
    max_concurrency: Given<'_, 'py>,
    timeout: Given<'_, 'py>,
    ephemeral_lease: Given<'_, 'py>,
    profile: Given<'_, 'py>,
    scheme: Given<'_, 'py>,
    username: Given<'_, 'py>,
    password: Given<'_, 'py>,
    default_acl: Given<'_, 'py>,
    config_get: Given<'_, 'py>,
    raise_on_signal: Given<'_, 'py>,
    security: Option<&Bound<'py, PyDict>>,
) -> PyResult<Vec<String>> {
    let security = Security::from_keywords(security)?;
    let connection =
        Connection { hosts: zk_hosts, profile, scheme, username, password, default_acl, config_get, security };
    let settings = connection.settings()?;
    let claim = claim(&settings, path, identifier, max_concurrency, ephemeral_lease)?;
    let patience = patience(timeout)?;
    let raise_on_signal = flag("raise_on_signal", raise_on_signal)?;
    call(path.py(), raise_on_signal, |registry, cancel| async move {
        let budget = Budget::answer(patience, settings.connect_timeout, cancel);
        semaphore::holders(&Ensemble::new(registry, settings), &claim.pool, &budget).await
    })
}
