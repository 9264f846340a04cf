//! Coordination for fleets of hosts on ZooKeeper.
//!
//! Hosts that must not all act at once ask for one of N slots, act, and give it back. The znodes are
//! those of kazoo's `Semaphore`, so that fleets may mix this crate with kazoo and with Salt's stock
//! `zk_concurrency` and still keep one limit.
//!
//! | module | what it answers |
//! | --- | --- |
//! | [`error`] | why a call gave no answer |
//! | [`secret`], [`printable`] | a text that nobody is shown, and one that no terminal obeys (pure) |
//! | [`path`], [`acl`] | what a valid path and a valid ACL are (pure) |
//! | [`wait`] | how a wait ends: answer, time, or the caller |
//! | [`connect`] | which servers, as whom, for how long, with which certificates, and why a server cannot be used |
//! | [`session`] | one session of the protocol, what a failure in it means, and which calls share it |
//! | [`client`] | a caller's handle: a session when one is needed, and the one loop that tries again |
//! | `children`, `multi_read` | a znode's children; several znodes in one request |
//! | `record`, `watches` | a znode that is written if it is still what was read; the next change |
//! | [`tree`] | all znodes below one, a level in one flight |
//! | [`znode`] | single znodes: create, read, write, delete, follow |
//! | [`recipe`] | the primitives: queue, semaphore, timed lease, party and coordinator |
//! | [`confd`] | Ganeti's master candidates: questions, and which answer to believe; without ZooKeeper |
//! | [`ensemble`] | who is in an ensemble, who leads, who lags; and a change that it survives |
//! | `py` | the Python extension module, behind the feature `python` |
//!
//! Imports run one way: a module uses what stands above it in this table, and nothing below.

pub mod acl;
mod children;
pub mod client;
pub mod confd;
pub mod connect;
pub mod ensemble;
pub mod error;
mod multi_read;
pub mod path;
pub mod printable;
#[cfg(feature = "python")]
mod py;
pub mod recipe;
mod record;
pub mod secret;
pub mod session;
pub mod tree;
pub mod wait;
mod watches;
pub mod znode;

pub use error::{Error, Result};
