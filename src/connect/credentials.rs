//! Who a caller is: anonymous, a user of the digest scheme, or one of SASL. Pure.

use crate::error::{Error, Result};
use crate::secret::Secret;

/// What one source gives of the caller's user. `None` is not given.
#[derive(Clone, Debug, Default)]
pub struct UserSource {
    /// The authentication scheme: `digest`, or `sasl`.
    pub scheme: Option<String>,
    /// The mechanism of SASL: `DIGEST-MD5`, or `GSSAPI`.
    pub mechanism: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
}

impl UserSource {
    /// These settings, and those of `other` where none is given here.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            scheme: self.scheme.or(other.scheme),
            mechanism: self.mechanism.or(other.mechanism),
            username: self.username.or(other.username),
            password: self.password.or(other.password),
        }
    }
}

/// The user whom a session belongs to.
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
