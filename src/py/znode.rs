//! Single znodes.

use std::future::Future;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zookeeper_client as zk;

use super::arguments::{acls, bytes, flag, text, version, Given};
use super::call::{plain, Call, Purpose};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::wait::Budget;
use crate::{acl, znode};

/// In the order of kazoo's `ZnodeStat`.
type Stat = (i64, i64, i64, i64, i32, i32, i32, i64, i32, i32, i64);
/// Permissions, and (scheme, id).
type Acl = (i32, (String, String));

/// Runs one operation on the znode that `path` means.
fn on<'py, T, F>(
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
    purpose: Purpose,
    operation: impl FnOnce(Client, String, Budget) -> F,
    answer: impl FnOnce(Python<'py>, T) -> PyResult<Py<PyAny>>,
) -> PyResult<Py<PyAny>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let call = Call::new(connection, wait)?;
    let full = call.settings.any_path(&text("path", path)?)?;
    let about = full.clone();
    call.run(path.py(), &about, purpose, |client, budget| operation(client, full, budget), answer)
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

/// Creates a znode.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn znode_create<'py>(
    path: &Bound<'py, PyAny>,
    value: Given<'_, 'py>,
    acls: Given<'_, 'py>,
    ephemeral: Given<'_, 'py>,
    sequence: Given<'_, 'py>,
    makepath: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let data = value.map(bytes).transpose()?.unwrap_or_default();
    let acl = acl_of(acls)?.filter(|acl| !acl.is_empty());
    let (ephemeral, sequence) = (flag("ephemeral", ephemeral)?, flag("sequence", sequence)?);
    let parents = flag("makepath", makepath)?;
    let in_it = sequence && text("path", path)?.ends_with('/');
    let operation = move |client: Client, mut path: String, budget| async move {
        if in_it {
            // The name is the sequence alone.
            path.push('/');
        }
        let acl = acl.unwrap_or_else(|| client.settings().acl.clone());
        client.settings().check_creator("acls", &acl)?;
        let new = znode::New { path, data, acl, ephemeral, sequence, parents };
        let made = znode::create(&client, &new, &budget).await?;
        Ok(client.settings().shown(&made))
    };
    on(path, connection, wait, Purpose::Changes, operation, plain)
}

/// Whether a znode exists.
#[pyfunction]
pub(super) fn znode_exists<'py>(
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let operation = |client, path: String, budget| async move { znode::exists(&client, &path, &budget).await };
    on(path, connection, wait, Purpose::Asks, operation, plain)
}

/// Reads the data of a znode.
#[pyfunction]
pub(super) fn znode_get<'py>(
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let operation = |client, path: String, budget| async move { znode::get(&client, &path, &budget).await };
    on(path, connection, wait, Purpose::Asks, operation, |py, data| plain(py, PyBytes::new(py, &data)))
}

/// Lists the names of a znode's children.
#[pyfunction]
pub(super) fn znode_children<'py>(
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let operation = |client, path: String, budget| async move { znode::children(&client, &path, &budget).await };
    on(path, connection, wait, Purpose::Asks, operation, plain)
}

/// Writes the data of a znode.
#[pyfunction]
pub(super) fn znode_set<'py>(
    path: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
    version: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let (data, version) = (bytes(value)?, self::version(version)?);
    let operation = move |client, path: String, budget| async move {
        znode::set(&client, &path, &data, version, &budget).await.map(stat)
    };
    on(path, connection, wait, Purpose::Changes, operation, plain)
}

/// Reads the ACL of a znode.
#[pyfunction]
pub(super) fn znode_get_acls<'py>(
    path: &Bound<'py, PyAny>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let operation = |client, path: String, budget| async move {
        Ok(znode::acl(&client, &path, &budget).await?.iter().map(entry).collect::<Vec<_>>())
    };
    on(path, connection, wait, Purpose::Asks, operation, plain)
}

/// Writes the ACL of a znode.
#[pyfunction]
pub(super) fn znode_set_acls<'py>(
    path: &Bound<'py, PyAny>,
    acls: &Bound<'py, PyAny>,
    version: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let (acl, version) = (acl_of(Some(acls))?.unwrap_or_default(), self::version(version)?);
    if acl.is_empty() {
        return Err(Error::argument("acls", "is empty; a znode permits something to somebody").into());
    }
    let operation = move |client: Client, path: String, budget| async move {
        client.settings().check_creator("acls", &acl)?;
        znode::set_acl(&client, &path, &acl, version, &budget).await.map(stat)
    };
    on(path, connection, wait, Purpose::Changes, operation, plain)
}

/// Deletes a znode.
#[pyfunction]
pub(super) fn znode_delete<'py>(
    path: &Bound<'py, PyAny>,
    version: Given<'_, 'py>,
    recursive: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let (version, recursive) = (self::version(version)?, flag("recursive", recursive)?);
    let operation = move |client, path: String, budget| async move {
        znode::delete(&client, &path, version, recursive, &budget).await
    };
    on(path, connection, wait, Purpose::Changes, operation, |py, ()| Ok(py.None()))
}

/// The ACL entry that an ACL dict stands for.
#[pyfunction]
pub(super) fn digest_acl(keywords: &Bound<'_, PyAny>) -> PyResult<Acl> {
    let entries = acl::from_entries("acls", &acls("acls", keywords)?)?;
    entries.first().map(entry).ok_or_else(|| Error::argument("acls", "is empty").into())
}
