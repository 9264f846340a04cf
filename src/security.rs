//! Who a caller is, and how its servers are made sure of. Pure.

use rustls::pki_types::ServerName;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// What one source says of TLS. `None` is not said.
#[derive(Clone, Debug, Default)]
pub struct TlsSource {
    /// Whether to speak TLS at all.
    pub use_ssl: Option<bool>,
    /// The file with the certificates of the authorities that vouch for the servers.
    pub ca_certs: Option<String>,
    /// The file with the client's certificate.
    pub certfile: Option<String>,
    /// The file with the key to it; where that is not said, it is in the same file.
    pub keyfile: Option<String>,
    /// What an encrypted key is read with.
    pub keyfile_password: Option<Secret>,
    /// Whether a server's name must be in its certificate.
    pub verify_certs: Option<bool>,
}

impl TlsSource {
    /// What is said here, and where nothing is said what `other` says.
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

    fn said(&self) -> Option<&'static str> {
        let said = [
            ("ca_certs", self.ca_certs.is_some()),
            ("certfile", self.certfile.is_some()),
            ("keyfile", self.keyfile.is_some()),
            ("keyfile_password", self.keyfile_password.is_some()),
            ("verify_certs", self.verify_certs.is_some()),
        ];
        said.into_iter().find_map(|(name, said)| said.then_some(name))
    }
}

/// A client's certificate, and the key to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientCertificate {
    pub(crate) certfile: String,
    pub(crate) keyfile: String,
    pub(crate) password: Option<Secret>,
}

/// How the servers are made sure of, and what the client shows them. Files are read when a session is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    pub(crate) ca_certs: String,
    pub(crate) client: Option<ClientCertificate>,
    /// Without it any name will do, but the authority must vouch for the server all the same.
    pub(crate) verify_names: bool,
}

impl Tls {
    /// `by_hosts`: what the connect string says, where it says whether to speak TLS.
    pub(crate) fn resolve(source: TlsSource, by_hosts: Option<bool>) -> Result<Option<Self>> {
        match (source.use_ssl, by_hosts) {
            (Some(asked), Some(named)) if asked != named => {
                let (asked, named) = (asked, if named { "tcp+tls://" } else { "tcp://" });
                return Err(Error::argument("use_ssl", format!("is {asked}, but the hosts begin with {named}")));
            }
            (Some(false), _) => return Ok(None),
            (None, None | Some(false)) => match source.said() {
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

/// The host in `host:port`, without brackets.
pub(crate) fn host(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']'])
}

/// The same as a name that a certificate can have.
pub(crate) fn server_name(server: &str) -> Result<ServerName<'static>> {
    let host = host(server);
    ServerName::try_from(host.to_owned())
        .map_err(|_| Error::argument("zk_hosts", format!("{host:?} is no name that a certificate can have")))
}

/// What one source says of the caller. `None` is not said.
#[derive(Clone, Debug, Default)]
pub struct UserSource {
    /// The authentication scheme: `digest`, or `sasl`.
    pub scheme: Option<String>,
    /// How SASL is done.
    pub mechanism: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
}

impl UserSource {
    /// What is said here, and where nothing is said what `other` says.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            scheme: self.scheme.or(other.scheme),
            mechanism: self.mechanism.or(other.mechanism),
            username: self.username.or(other.username),
            password: self.password.or(other.password),
        }
    }
}

/// Whom a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Credentials {
    Digest {
        username: String,
        password: Secret,
    },
    DigestMd5 {
        username: String,
        password: Secret,
    },
    /// Whoever has the Kerberos ticket that this process finds.
    #[cfg(feature = "gssapi")]
    Gssapi,
}

impl Credentials {
    pub(crate) fn resolve(source: UserSource) -> Result<Option<Self>> {
        let sasl = match source.scheme.as_deref() {
            None | Some("digest") => false,
            Some("sasl") => true,
            Some(other) => {
                return Err(Error::argument("scheme", format!("{other:?} is not supported; supported: digest, sasl")))
            }
        };
        match (sasl, source.mechanism.as_deref()) {
            (_, None) | (true, Some("DIGEST-MD5")) => {}
            #[cfg(feature = "gssapi")]
            (true, Some("GSSAPI")) => {
                return match (source.username, source.password) {
                    (None, None) => Ok(Some(Self::Gssapi)),
                    (Some(_), _) => {
                        Err(Error::argument("username", "is not for GSSAPI, where the ticket names the user"))
                    }
                    (None, Some(_)) => Err(Error::argument("password", "is not for GSSAPI, where there is a ticket")),
                };
            }
            #[cfg(not(feature = "gssapi"))]
            (true, Some("GSSAPI")) => {
                let reason = "GSSAPI needs a zkcoord that was built with the feature gssapi";
                return Err(Error::argument("mechanism", reason));
            }
            (true, Some(other)) => {
                let reason = format!("{other:?} is not supported; supported: DIGEST-MD5, GSSAPI");
                return Err(Error::argument("mechanism", reason));
            }
            (false, Some(_)) => return Err(Error::argument("mechanism", "is given, but the scheme is not sasl")),
        }
        match (source.username, source.password) {
            (None, None) if sasl => Err(Error::argument("username", "is needed for the scheme sasl, and a password")),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Error::argument("username", "given without a password")),
            (None, Some(_)) => Err(Error::argument("password", "given without a username")),
            (Some(username), Some(_)) if username.contains(|c: char| c == ':' || c.is_control()) => Err(
                Error::argument("username", "must not contain ':', which ends it in the digest scheme, nor controls"),
            ),
            (Some(username), Some(password)) if sasl => Ok(Some(Self::DigestMd5 { username, password })),
            (Some(username), Some(password)) => Ok(Some(Self::Digest { username, password })),
        }
    }

    /// `scheme:user`, for people.
    pub(crate) fn user(&self) -> String {
        match self {
            Self::Digest { username, .. } => format!("digest:{username}"),
            Self::DigestMd5 { username, .. } => format!("sasl:{username}"),
            #[cfg(feature = "gssapi")]
            Self::Gssapi => "sasl:GSSAPI".to_owned(),
        }
    }

    /// Whether it is a Kerberos ticket that says who it is.
    pub(crate) fn is_ticket(&self) -> bool {
        match self {
            Self::Digest { .. } | Self::DigestMd5 { .. } => false,
            #[cfg(feature = "gssapi")]
            Self::Gssapi => true,
        }
    }

    pub(crate) fn is_sasl(&self) -> bool {
        !matches!(self, Self::Digest { .. })
    }
}
