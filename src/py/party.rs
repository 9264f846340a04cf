//! `party_members`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert::{count, flag, patience, text, Connection, Given};
use super::runtime::call;
use super::security::Security;
use crate::ensemble::Ensemble;
use crate::recipe::party;
use crate::wait::Budget;

/// Lists who is present, and waits for enough of them if asked to. See the stub for the whole story.
#[pyfunction]
#[pyo3(
    signature = (path, zk_hosts=None, min_nodes=None, blocking=None, profile=None, scheme=None, username=None,
                 password=None, default_acl=None, *, timeout=None, config_get=None, raise_on_signal=None, **security),
    text_signature = "(path, zk_hosts=None, min_nodes=1, blocking=False, profile=None, scheme=None, \
                      username=None, password=None, default_acl=None, *, timeout=None, config_get=None, \
                      raise_on_signal=False, \
                      mechanism=None, use_ssl=None, ca_certs=None, certfile=None, keyfile=None, \
                      keyfile_password=None, verify_certs=None)"
)]
#[allow(clippy::too_many_arguments)]
pub(super) fn party_members<'py>(
    path: &Bound<'py, PyAny>,
    zk_hosts: Given<'_, 'py>,
    min_nodes: Given<'_, 'py>,
    blocking: Given<'_, 'py>,
    profile: Given<'_, 'py>,
    scheme: Given<'_, 'py>,
    username: Given<'_, 'py>,
    password: Given<'_, 'py>,
    default_acl: Given<'_, 'py>,
    timeout: Given<'_, 'py>,
    config_get: Given<'_, 'py>,
    raise_on_signal: Given<'_, 'py>,
    security: Option<&Bound<'py, PyDict>>,
) -> PyResult<Vec<String>> {
    let security = Security::from_keywords(security)?;
    let connection =
        Connection { hosts: zk_hosts, profile, scheme, username, password, default_acl, config_get, security };
    let settings = connection.settings()?;
    let party = settings.path(&text("path", path)?)?;
    let (enough, blocking) = (count("min_nodes", min_nodes, 1, 0)?, flag("blocking", blocking)?);
    let patience = patience(timeout)?;
    let raise_on_signal = flag("raise_on_signal", raise_on_signal)?;
    call(path.py(), raise_on_signal, |registry, cancel| async move {
        let connect_timeout = settings.connect_timeout;
        let ensemble = Ensemble::new(registry, settings);
        if blocking {
            let budget = Budget::waiting(patience, connect_timeout, cancel);
            party::gather(&ensemble, &party, enough as usize, &budget).await
        } else {
            party::members(&ensemble, &party, &Budget::answer(patience, connect_timeout, cancel)).await
        }
    })
}
