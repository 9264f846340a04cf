//! Coordination for fleets of hosts on ZooKeeper.
//!
//! Hosts that must not all act at once ask for one of N slots, act, and give it back. The znodes are
//! those of kazoo's `Semaphore`, so that fleets may mix this crate with kazoo and with Salt's stock
//! `zk_concurrency` and still keep one limit.
//!
//! | module | what it answers |
//! | --- | --- |
//! | [`path`], [`acl`], [`deadline`] | what is a valid path, an ACL, a wait (pure) |
//! | [`secret`], [`security`] | who a caller is, and how its servers are made sure of (pure) |
//! | [`settings`] | which ensemble, as whom, for how long (pure) |
//! | [`wait`] | how a wait ends: answer, time, or the caller |
//! | `tls`, `diagnosis` | the certificates in files, and why a server cannot be used |
//! | `kerberos` | the tickets for the servers, or why there are none, behind the feature `gssapi` |
//! | `session`, [`registry`] | the live sessions of a process, and what a failure of one means |
//! | [`client`] | a caller's handle: a session when one is needed, and the one loop that tries again |
//! | `children`, `record` | a znode's children, and a znode that is written if it is still what was read |
//! | [`recipe`] | the primitives: semaphore, hold and party |
//! | [`znode`] | single znodes: create, read, write, delete |
//! | `py` | the Python extension module, behind the feature `python` |
//!
//! Imports run one way, from the bottom of this table to its top.

pub mod acl;
mod children;
pub mod client;
pub mod deadline;
mod diagnosis;
pub mod error;
#[cfg(feature = "gssapi")]
mod kerberos;
pub mod path;
#[cfg(feature = "python")]
mod py;
pub mod recipe;
mod record;
pub mod registry;
pub mod secret;
pub mod security;
pub mod session;
pub mod settings;
mod tls;
pub mod wait;
pub mod znode;

pub use error::{Error, Result};
