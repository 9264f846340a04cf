//! Whether to speak TLS, and with which files: the settings, checked against each other. Pure.
//!
//! The files themselves are read in `certificates`.

use rustls::pki_types::ServerName;

use crate::connect::hosts::host;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// What one source gives of TLS. `None` is not given.
#[derive(Clone, Debug, Default)]
pub struct TlsSource {
    /// Whether to speak TLS at all.
    pub use_ssl: Option<bool>,
    /// The file with the certificates of the authorities that vouch for the servers.
    pub ca_certs: Option<String>,
    /// The file with the client's certificate.
    pub certfile: Option<String>,
    /// The file with the key of that certificate. Where it is not given, the key is in the file of the certificate.
    pub keyfile: Option<String>,
    /// The password of an encrypted key.
    pub keyfile_password: Option<Secret>,
    /// Whether a server's name must be in its certificate.
    pub verify_certs: Option<bool>,
}

impl TlsSource {
    /// These settings, and those of `other` where none is given here.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            use_ssl: self.use_ssl.or(other.use_ssl),
            ca_certs: self.ca_certs.or(other.ca_certs),
            certfile: self.certfile.or(other.certfile),
            keyfile: self.keyfile.or(other.keyfile),
            keyfile_password: self.keyfile_password.or(other.keyfile_password),
            verify_certs: self.verify_certs.or(other.verify_certs),
        }
    }

    /// The first setting that is given beside `use_ssl`.
    fn first_setting(&self) -> Option<&'static str> {
        let settings = [
            ("ca_certs", self.ca_certs.is_some()),
            ("certfile", self.certfile.is_some()),
            ("keyfile", self.keyfile.is_some()),
            ("keyfile_password", self.keyfile_password.is_some()),
            ("verify_certs", self.verify_certs.is_some()),
        ];
        settings.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }
}

/// A client's certificate, and the key to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientCertificate {
    pub(crate) certfile: String,
    pub(crate) keyfile: String,
    pub(crate) password: Option<Secret>,
}

/// How the caller makes sure of the servers, and which certificate it shows them. The files are read when a session is
/// opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    pub(crate) ca_certs: String,
    pub(crate) client: Option<ClientCertificate>,
    /// Whether a server's name must be in its certificate. The authority must have issued the certificate in any case.
    pub(crate) verify_names: bool,
}

impl Tls {
    /// Checks the settings against each other. `by_hosts`: whether the connect string asks for TLS, where it says so.
    pub(crate) fn resolve(source: TlsSource, by_hosts: Option<bool>) -> Result<Option<Self>> {
        match (source.use_ssl, by_hosts) {
            (Some(asked), Some(named)) if asked != named => {
                let (asked, named) = (asked, if named { "tcp+tls://" } else { "tcp://" });
                return Err(Error::argument("use_ssl", format!("is {asked}, but the hosts begin with {named}")));
            }
            (Some(false), _) => return Ok(None),
            (None, None | Some(false)) => match source.first_setting() {
                None => return Ok(None),
                Some(setting) => {
                    let reason = "is given, but TLS is not asked for: set use_ssl to true, or to false to do without";
                    return Err(Error::argument(setting, reason));
                }
            },
            (Some(true), _) | (None, Some(true)) => {}
        }
        let Some(ca_certs) = source.ca_certs else {
            let reason =
                "is needed for TLS: a file with the certificates of the authorities that vouch for the servers";
            return Err(Error::argument("ca_certs", reason));
        };
        let client = match (source.certfile, source.keyfile, source.keyfile_password) {
            (Some(certfile), keyfile, password) => {
                Some(ClientCertificate { keyfile: keyfile.unwrap_or_else(|| certfile.clone()), certfile, password })
            }
            (None, None, None) => None,
            (None, Some(_), _) => return Err(Error::argument("keyfile", "is given without a certfile")),
            (None, None, Some(_)) => return Err(Error::argument("keyfile_password", "is given without a certfile")),
        };
        Ok(Some(Self { ca_certs, client, verify_names: source.verify_certs.unwrap_or(true) }))
    }
}

/// The host in `host:port`, as a name that a certificate can have.
pub(crate) fn server_name(server: &str) -> Result<ServerName<'static>> {
    let host = host(server);
    ServerName::try_from(host.to_owned())
        .map_err(|_| Error::argument("zk_hosts", format!("{host:?} is no name that a certificate can have")))
}
