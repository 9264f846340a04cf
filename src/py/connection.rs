//! Which ensemble, as whom, for how long: the arguments of a connection, read once.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use zookeeper_client as zk;

use super::arguments::{acls, count, flag, hosts, is_given, refused, scalar, seconds, text};
use super::runtime;
use crate::acl;
use crate::connect::credentials::UserSource;
use crate::connect::settings;
use crate::connect::source::Source;
use crate::connect::tls::TlsSource;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The settings of a connection, by name.
const NAMES: [&str; 16] = [
    "hosts",
    "scheme",
    "mechanism",
    "username",
    "password",
    "default_acl",
    "use_ssl",
    "ca_certs",
    "certfile",
    "keyfile",
    "keyfile_password",
    "verify_certs",
    "session_timeout",
    "connect_timeout",
    "idle_timeout",
    "max_buffer",
];

/// What only a configuration may say: see [`Source`].
const ANY_HOST: &str = "send_credentials_to_any_host";
const HOSTS_ABOVE: &str = "hosts_above";

/// The settings of a connection, checked: what is given, and under that what is configured.
#[pyclass(frozen, eq, hash, skip_from_py_object, module = "zkcoord._core")]
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Settings(pub(super) Arc<settings::Settings>);

impl Hash for Settings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut own = DefaultHasher::new();
        self.0.hash(&mut own);
        own.finish().hash(state);
    }
}

#[pymethods]
impl Settings {
    #[new]
    fn new(
        py: Python<'_>,
        given: &Bound<'_, PyDict>,
        configured: &Bound<'_, PyDict>,
        profile: Option<String>,
        section: Option<String>,
    ) -> PyResult<Self> {
        let named = Source { profile, section, ..Source::default() };
        let in_configuration = |error| with_name(error, given, configured, &named);
        let any_host = configured.get_item(ANY_HOST)?.filter(is_given);
        let hosts_above = configured.get_item(HOSTS_ABOVE)?.filter(is_given);
        let profile = Source {
            // What cannot be read names nobody to whom a secret may go.
            hosts_above: hosts_above.map(|it| hosts(&it).unwrap_or_default()),
            send_credentials_to_any_host: any_host.map(|it| flag(ANY_HOST, Some(&it))).transpose()?,
            ..source(configured, named.clone()).map_err(in_configuration)?
        };
        let explicit = source(given, Source::default())?;
        let settings = settings::Settings::resolve(explicit, profile).map_err(in_configuration)?;
        warn(py, &settings)?;
        Ok(Self(Arc::new(settings)))
    }

    /// The connect string, with its chroot.
    #[getter]
    fn hosts(&self) -> String {
        self.0.hosts()
    }

    /// `scheme:user`, or `anonymous`.
    #[getter]
    fn user(&self) -> String {
        self.0.identity.user()
    }

    /// Seconds.
    #[getter]
    fn session_timeout(&self) -> f64 {
        self.0.identity.session_timeout.as_secs_f64()
    }

    /// Seconds.
    #[getter]
    fn connect_timeout(&self) -> f64 {
        self.0.connect_timeout.as_secs_f64()
    }

    /// Seconds.
    #[getter]
    fn idle_timeout(&self) -> f64 {
        self.0.identity.idle_timeout.as_secs_f64()
    }

    /// What created znodes permit, as permissions, scheme and id; empty for everything to everybody.
    #[getter]
    fn default_acl(&self) -> Vec<(i32, (String, String))> {
        let entry = |acl: &zk::Acl| (acl::bits(acl.permission()), (acl.scheme().to_owned(), acl.id().to_owned()));
        self.0.acl.iter().map(entry).collect()
    }

    /// Bytes.
    #[getter]
    fn max_buffer(&self) -> usize {
        self.0.identity.longest_request()
    }

    /// Ends the sessions of this process with these settings.
    fn close(&self, py: Python<'_>) {
        runtime::close_one(py, &self.0.identity);
    }

    /// As `close`, but for sessions that somebody uses.
    fn close_unused(&self, py: Python<'_>) {
        runtime::close_unused(py, &self.0.identity);
    }
}

/// Whether a setting is given: `None`, empty text and empty lists leave it open.
#[pyfunction]
#[pyo3(name = "is_given")]
pub(super) fn is_setting_given(value: &Bound<'_, PyAny>) -> bool {
    is_given(value)
}

/// The name of a profile, as text.
#[pyfunction]
pub(super) fn profile_name(profile: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(scalar("profile", profile)?)
}

/// An error about a setting that only the configuration has, with the configuration's name.
fn with_name(error: Error, given: &Bound<'_, PyDict>, configured: &Bound<'_, PyDict>, named: &Source) -> Error {
    let has = |source: &Bound<'_, PyDict>, name| source.get_item(name).ok().flatten().is_some_and(|it| is_given(&it));
    match error {
        Error::Argument { argument, reason } => {
            let name = if argument == "zk_hosts" { "hosts" } else { argument };
            let is_configured = has(configured, name) && !has(given, name);
            let reason = if is_configured { format!("{reason} (in {})", named.name()) } else { reason };
            Error::Argument { argument, reason }
        }
        other => other,
    }
}

/// The settings that one source gives, beside what is known of it. Keys that are no setting of a connection are left aside.
fn source(given: &Bound<'_, PyDict>, known: Source) -> Result<Source> {
    let mut values = [const { None }; NAMES.len()];
    for (name, value) in NAMES.into_iter().zip(&mut values) {
        let found = given.get_item(name).map_err(|error| Error::Internal(error.to_string()))?;
        *value = found.filter(is_given);
    }
    read(&values, known)
}

fn read(values: &[Option<Bound<'_, PyAny>>; NAMES.len()], known: Source) -> Result<Source> {
    let [addresses, scheme, mechanism, username, password, default_acl, use_ssl, ca_certs, certfile, keyfile, rest @ ..] =
        values;
    let [keyfile_password, verify_certs, session_timeout, connect_timeout, idle_timeout, max_buffer] = rest;
    let timeout = |name, value: &Option<Bound<'_, PyAny>>| value.as_ref().map(|it| seconds(name, it)).transpose();
    let secret = |name, value: &Option<Bound<'_, PyAny>>| {
        value.as_ref().map(|it| scalar(name, it).map(Secret::from)).transpose()
    };
    let file = |name, value: &Option<Bound<'_, PyAny>>| value.as_ref().map(|it| file(name, it)).transpose();
    let flag = |name, value: &Option<Bound<'_, PyAny>>| value.as_ref().map(|it| flag(name, Some(it))).transpose();
    Ok(Source {
        hosts: addresses.as_ref().map(hosts).transpose()?,
        user: UserSource {
            scheme: scheme.as_ref().map(|it| text("scheme", it)).transpose()?,
            mechanism: mechanism.as_ref().map(|it| text("mechanism", it)).transpose()?,
            username: username.as_ref().map(|it| scalar("username", it)).transpose()?,
            password: secret("password", password)?,
        },
        tls: TlsSource {
            use_ssl: flag("use_ssl", use_ssl)?,
            ca_certs: file("ca_certs", ca_certs)?,
            certfile: file("certfile", certfile)?,
            keyfile: file("keyfile", keyfile)?,
            keyfile_password: secret("keyfile_password", keyfile_password)?,
            verify_certs: flag("verify_certs", verify_certs)?,
        },
        default_acl: default_acl.as_ref().map(|it| acls("default_acl", it)).transpose()?,
        session_timeout: timeout("session_timeout", session_timeout)?,
        connect_timeout: timeout("connect_timeout", connect_timeout)?,
        idle_timeout: timeout("idle_timeout", idle_timeout)?,
        max_buffer: max_buffer.as_ref().map(|it| count("max_buffer", Some(it), 0, 1)).transpose()?,
        ..known
    })
}

fn file(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<String> {
    let path = value.extract::<PathBuf>().ok().and_then(|path| path.into_os_string().into_string().ok());
    path.map_or_else(|| refused(argument, "must be the path of a file"), Ok)
}

/// Warns each time that the names of servers are not verified.
fn warn(py: Python<'_>, settings: &settings::Settings) -> PyResult<()> {
    if settings.identity.is_unverified() {
        let hosts = settings.identity.hosts();
        let message = "verify_certs is false: whoever has a certificate of the same authority can pass for %s";
        py.import("logging")?.call_method1("getLogger", ("zkcoord",))?.call_method1("warning", (message, hosts))?;
    }
    Ok(())
}

/// A settings object that a function was given.
pub(super) fn settings_of(value: &Bound<'_, PyAny>) -> Result<Arc<settings::Settings>> {
    match value.cast::<Settings>() {
        Ok(settings) => Ok(settings.get().0.clone()),
        Err(_) => Err(Error::argument("connection", "must be a zkcoord.Connection")),
    }
}
