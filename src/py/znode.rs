//! Single znodes.

use std::future::Future;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use zookeeper_client as zk;

use super::convert::{acls, flag, text, version, Common, Given};
use super::runtime::call;
use crate::ensemble::Ensemble;
use crate::error::{Error, Result};
use crate::wait::Budget;
use crate::{acl, znode};

type Keywords<'a, 'py> = &'a Bound<'py, PyDict>;
/// In the order of kazoo's `ZnodeStat`.
type Stat = (i64, i64, i64, i64, i32, i32, i32, i64, i32, i32, i64);
/// Permissions, and (scheme, id).
type Acl = (i32, (String, String));

/// Runs one operation on the znode that `path` means.
fn on<'py, T, F>(
    path: &Bound<'py, PyAny>,
    connection: Option<Keywords<'_, 'py>>,
    operation: impl FnOnce(Ensemble, String, Budget) -> F,
) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let common = Common::from_keywords(connection)?;
    let full = common.settings.any_path(&text("path", path)?)?;
    call(path.py(), common.raise_on_signal, |registry, cancel| {
        let budget = Budget::answer(common.patience, common.settings.connect_timeout, cancel);
        operation(Ensemble::new(registry, common.settings), full, budget)
    })
}

fn bytes(value: &Bound<'_, PyAny>) -> Result<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    match value.cast::<PyString>().ok().and_then(|text| text.to_str().ok()) {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => Err(Error::argument("value", "must be text or bytes")),
    }
}

fn acl_of(value: Given<'_, '_>) -> Result<Option<acl::List>> {
    value.map(|value| acl::from_entries("acls", &acls("acls", value)?)).transpose()
}

fn stat(stat: zk::Stat) -> Stat {
    (
        stat.czxid,
        stat.mzxid,
        stat.ctime,
        stat.mtime,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children,
        stat.pzxid,
    )
}

fn entry(acl: &zk::Acl) -> Acl {
    (acl::bits(acl.permission()), (acl.scheme().to_owned(), acl.id().to_owned()))
}

/// Creates a znode. See the stub for the whole story.
#[pyfunction]
#[pyo3(
    signature = (path, value=None, acls=None, ephemeral=None, sequence=None, makepath=None, **connection),
    text_signature = "(path, value=b'', acls=None, ephemeral=False, sequence=False, makepath=False, **connection)"
)]
pub(super) fn znode_create<'py>(
    path: &Bound<'py, PyAny>,
    value: Given<'_, 'py>,
    acls: Given<'_, 'py>,
    ephemeral: Given<'_, 'py>,
    sequence: Given<'_, 'py>,
    makepath: Given<'_, 'py>,
    connection: Option<Keywords<'_, 'py>>,
) -> PyResult<String> {
    let data = value.map(bytes).transpose()?.unwrap_or_default();
    let acl = acl_of(acls)?.filter(|acl| !acl.is_empty());
    let (ephemeral, sequence) = (flag("ephemeral", ephemeral)?, flag("sequence", sequence)?);
    let parents = flag("makepath", makepath)?;
    let in_it = sequence && text("path", path)?.ends_with('/');
    on(path, connection, move |ensemble, mut path, budget| async move {
        if in_it {
            // The name is the sequence alone.
            path.push('/');
        }
        let acl = acl.unwrap_or_else(|| ensemble.settings().acl.clone());
        ensemble.settings().check_creator("acls", &acl)?;
        let new = znode::New { path, data, acl, ephemeral, sequence, parents };
        let made = znode::create(&ensemble, &new, &budget).await?;
        Ok(ensemble.settings().shown(&made))
    })
}

/// Whether a znode exists.
#[pyfunction]
#[pyo3(signature = (path, **connection))]
pub(super) fn znode_exists<'py>(path: &Bound<'py, PyAny>, connection: Option<Keywords<'_, 'py>>) -> PyResult<bool> {
    on(path, connection, |ensemble, path, budget| async move { znode::exists(&ensemble, &path, &budget).await })
}

/// Reads the data of a znode.
#[pyfunction]
#[pyo3(signature = (path, **connection))]
pub(super) fn znode_get<'py>(
    path: &Bound<'py, PyAny>,
    connection: Option<Keywords<'_, 'py>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let data =
        on(path, connection, |ensemble, path, budget| async move { znode::get(&ensemble, &path, &budget).await })?;
    Ok(PyBytes::new(path.py(), &data))
}

/// Lists the names of a znode's children.
#[pyfunction]
#[pyo3(signature = (path, **connection))]
pub(super) fn znode_children<'py>(
    path: &Bound<'py, PyAny>,
    connection: Option<Keywords<'_, 'py>>,
) -> PyResult<Vec<String>> {
    on(path, connection, |ensemble, path, budget| async move { znode::children(&ensemble, &path, &budget).await })
}

/// Writes the data of a znode.
#[pyfunction]
#[pyo3(
    signature = (path, value, version=None, **connection),
    text_signature = "(path, value, version=-1, **connection)"
)]
pub(super) fn znode_set<'py>(
    path: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
    version: Given<'_, 'py>,
    connection: Option<Keywords<'_, 'py>>,
) -> PyResult<Stat> {
    let (data, version) = (bytes(value)?, self::version(version)?);
    on(path, connection, |ensemble, path, budget| async move {
        znode::set(&ensemble, &path, &data, version, &budget).await.map(stat)
    })
}

/// Reads the ACL of a znode.
#[pyfunction]
#[pyo3(signature = (path, **connection))]
pub(super) fn znode_get_acls<'py>(
    path: &Bound<'py, PyAny>,
    connection: Option<Keywords<'_, 'py>>,
) -> PyResult<Vec<Acl>> {
    on(path, connection, |ensemble, path, budget| async move {
        Ok(znode::acl(&ensemble, &path, &budget).await?.iter().map(entry).collect())
    })
}

/// Writes the ACL of a znode.
#[pyfunction]
#[pyo3(
    signature = (path, acls, version=None, **connection),
    text_signature = "(path, acls, version=-1, **connection)"
)]
pub(super) fn znode_set_acls<'py>(
    path: &Bound<'py, PyAny>,
    acls: &Bound<'py, PyAny>,
    version: Given<'_, 'py>,
    connection: Option<Keywords<'_, 'py>>,
) -> PyResult<Stat> {
    let (acl, version) = (acl_of(Some(acls))?.unwrap_or_default(), self::version(version)?);
    if acl.is_empty() {
        return Err(Error::argument("acls", "is empty; a znode permits something to somebody").into());
    }
    on(path, connection, |ensemble, path, budget| async move {
        ensemble.settings().check_creator("acls", &acl)?;
        znode::set_acl(&ensemble, &path, &acl, version, &budget).await.map(stat)
    })
}

/// Deletes a znode.
#[pyfunction]
#[pyo3(
    signature = (path, version=None, recursive=None, **connection),
    text_signature = "(path, version=-1, recursive=False, **connection)"
)]
pub(super) fn znode_delete<'py>(
    path: &Bound<'py, PyAny>,
    version: Given<'_, 'py>,
    recursive: Given<'_, 'py>,
    connection: Option<Keywords<'_, 'py>>,
) -> PyResult<()> {
    let (version, recursive) = (self::version(version)?, flag("recursive", recursive)?);
    on(path, connection, |ensemble, path, budget| async move {
        znode::delete(&ensemble, &path, version, recursive, &budget).await
    })
}

/// The ACL entry that an ACL dict stands for.
#[pyfunction]
pub(super) fn digest_acl(keywords: &Bound<'_, PyAny>) -> PyResult<Acl> {
    let entries = acl::from_entries("acls", &acls("acls", keywords)?)?;
    entries.first().map(entry).ok_or_else(|| Error::argument("acls", "is empty").into())
}
