//! TLS and SASL: the connection's settings that Salt's stock functions do not have, by keyword only.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert::{flag, is_said, refused, scalar, text};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::security::TlsSource;
use crate::settings::Settings;

pub(super) const NAMES: [&str; 7] =
    ["mechanism", "use_ssl", "ca_certs", "certfile", "keyfile", "keyfile_password", "verify_certs"];

/// Without one of these nothing else of TLS matters.
const USE_SSL: usize = 1;
const CA_CERTS: usize = 2;

/// A value for each of the names, where it is said.
#[derive(Clone, Default)]
pub(super) struct Security<'py>(pub(super) [Option<Bound<'py, PyAny>>; NAMES.len()]);

impl<'py> Security<'py> {
    pub(super) fn from_keywords(keywords: Option<&Bound<'py, PyDict>>) -> Result<Self> {
        let mut security = Self::default();
        for (key, value) in keywords.into_iter().flatten() {
            security.take(&text("keyword", &key)?, value)?;
        }
        Ok(security)
    }

    pub(super) fn take(&mut self, key: &str, value: Bound<'py, PyAny>) -> Result<()> {
        let index = NAMES.iter().position(|known| *known == key);
        let index = index.ok_or_else(|| Error::argument("keyword", format!("{key} is not known here")))?;
        self.0[index] = Some(value).filter(is_said);
        Ok(())
    }

    /// What is not said here. A key that is nowhere takes a while to look for, so only those are that can matter.
    pub(super) fn look_up(
        &self,
        with_sasl: bool,
        look_up: impl Fn(&str, bool) -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<Self> {
        let mut found = Self::default();
        for (index, name) in NAMES.into_iter().enumerate() {
            let matters = match name {
                "use_ssl" | "ca_certs" => true,
                "mechanism" => with_sasl,
                _ => [USE_SSL, CA_CERTS].into_iter().any(|asked| self.0[asked].is_some() || found.0[asked].is_some()),
            };
            found.0[index] = look_up(name, !matters || self.0[index].is_some())?;
        }
        Ok(found)
    }

    /// The mechanism, and the rest.
    pub(super) fn source(&self) -> Result<(Option<String>, TlsSource)> {
        let [mechanism, use_ssl, ca_certs, certfile, keyfile, keyfile_password, verify_certs] = &self.0;
        let tls = TlsSource {
            use_ssl: use_ssl.as_ref().map(|it| flag("use_ssl", Some(it))).transpose()?,
            ca_certs: ca_certs.as_ref().map(|it| file("ca_certs", it)).transpose()?,
            certfile: certfile.as_ref().map(|it| file("certfile", it)).transpose()?,
            keyfile: keyfile.as_ref().map(|it| file("keyfile", it)).transpose()?,
            keyfile_password: keyfile_password.as_ref().map(password).transpose()?,
            verify_certs: verify_certs.as_ref().map(|it| flag("verify_certs", Some(it))).transpose()?,
        };
        Ok((mechanism.as_ref().map(|it| text("mechanism", it)).transpose()?, tls))
    }
}

fn password(value: &Bound<'_, PyAny>) -> Result<Secret> {
    scalar("keyfile_password", value).map(Secret::from)
}

fn file(argument: &'static str, value: &Bound<'_, PyAny>) -> Result<String> {
    let path = value.extract::<PathBuf>().ok().and_then(|path| path.into_os_string().into_string().ok());
    path.map_or_else(|| refused(argument, "must be the path of a file"), Ok)
}

/// Says so each time that servers are not made sure of.
pub(super) fn warn(py: Python<'_>, settings: &Settings) -> PyResult<()> {
    if settings.identity.is_unverified() {
        let hosts = settings.identity.hosts();
        let message = "verify_certs is false: whoever has a certificate of the same authority can pass for %s";
        py.import("logging")?.call_method1("getLogger", ("zkcoord",))?.call_method1("warning", (message, hosts))?;
    }
    Ok(())
}
