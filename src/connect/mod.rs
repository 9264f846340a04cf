//! Which servers, as whom, and for how long: what has to be settled before a session is opened.
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`source`] | what the arguments of a call, or a profile, say (pure) |
//! | `disclosure` | which servers a configured secret may go to (pure) |
//! | [`settings`] | what a call's arguments and its profile come to together (pure) |
//! | [`hosts`] | which servers a connect string names, and below which chroot (pure) |
//! | [`credentials`] | who the caller is (pure) |
//! | [`tls`] | whether to speak TLS, and with which files (pure) |
//! | `certificates` | what is in those files, and whether it fits together |
//! | `renewal` | reading them again when they have changed |
//! | [`choice`] | which server, and which of its addresses, a connection goes to next (pure) |
//! | `dialer` | the connections of a session, and whether an answer is overdue |
//! | `attempt` | one try with one address, and what the log says of the connection |
//! | `wire` | a connection that notices when its server falls silent |
//! | `resolver` | the addresses of a name |
//! | `probe` | whether a server serves, asked on a connection of its own |
//! | `stream` | a connection to one server for questions that are no requests |
//! | `seen` | what was seen of a server that cannot be used, in words (pure) |
//! | `findings` | why none of the servers can be used, which the protocol client does not say |
//! | `kerberos` | the tickets for the servers, or why there are none; behind the feature `gssapi` |

pub(crate) mod apart;
mod attempt;
pub(crate) mod certificates;
pub mod choice;
pub mod credentials;
pub(crate) mod dialer;
pub(crate) mod dialing;
mod disclosure;
pub(crate) mod findings;
pub mod hosts;
#[cfg(feature = "gssapi")]
pub(crate) mod kerberos;
pub(crate) mod probe;
pub(crate) mod renewal;
pub(crate) mod resolver;
pub(crate) mod seen;
pub mod settings;
pub mod source;
pub(crate) mod stream;
pub mod tls;
pub(crate) mod wire;
