//! Which servers, as whom, and for how long: what has to be settled before a session is opened.
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`settings`] | what a call's arguments and its profile come to together (pure) |
//! | [`hosts`] | which servers a connect string names, and below which chroot (pure) |
//! | [`credentials`], [`secret`] | who the caller is, and the text that nobody is shown (pure) |
//! | [`tls`] | whether to speak TLS, and with which files (pure) |
//! | `certificates` | what is in those files, and whether it fits together |
//! | `probe` | why a server cannot be used, which the protocol client does not say |
//! | `kerberos` | the tickets for the servers, or why there are none; behind the feature `gssapi` |

pub(crate) mod certificates;
pub mod credentials;
pub mod hosts;
#[cfg(feature = "gssapi")]
pub(crate) mod kerberos;
pub(crate) mod probe;
pub mod secret;
pub mod settings;
pub mod tls;
