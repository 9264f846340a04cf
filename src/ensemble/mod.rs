//! An ensemble as those see it who run it: who leads, who is in, who lags, and a change that the servers survive.
//!
//! # A change
//!
//! | step | reply lost | session gone | caller gives up | process stopped |
//! | --- | --- | --- | --- | --- |
//! | read the configuration, from the leader's state | read again | read again in a new session | nothing was changed | nothing was changed |
//! | ask each member, and who is to join | the server counts as silent | no session is used | nothing was changed | nothing was changed |
//! | decide, in `decision` | nothing is sent | no session is used | nothing was changed | nothing was changed |
//! | send the change, for the version that was read | read: a newer version with these members is this change; the version that was read, and it is sent again | as when the reply is lost | the error says that the ensemble may have been changed | it was changed, or not |
//! | wait until all members that were in sync are so again | asked again | no session is used | the change stays | the change stays |
//!
//! A change that a server carries out late does no harm: the version is checked where it is carried out, and only one change
//! can have been planned from a version that is still the last one. Nobody plans over somebody else's change: where the
//! version is another, the caller is told, and decides anew.
//!
//! # Files
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`configuration`] | who is in an ensemble, as `/zookeeper/config` says it (pure) |
//! | [`quorum`] | which members are enough (pure) |
//! | [`decision`] | whether a step may be taken (pure) |
//! | [`words`] | what a server's answer to a four-letter word says (pure) |
//! | `ask` | asking all servers at once, and their AdminServers |
//! | `acquaint` | whether a server belongs to the ensemble, where its words do not tell |
//! | `survey` | what all servers say, and which member each of them is |
//! | [`status`] | one row a server: who it is, and whether it is in step |
//! | [`examine`] | what is odd about it, and what to do; from the rows of `status` alone |
//! | [`restart`] | in which order the members are restarted; likewise |
//! | [`change`] | a step from decision to sync |

mod acquaint;
pub(crate) mod ask;
pub mod change;
pub mod configuration;
pub mod decision;
pub mod examine;
pub mod quorum;
pub mod restart;
pub mod status;
pub(crate) mod survey;
pub mod words;
