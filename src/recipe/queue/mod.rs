//! First in, first out: each contender has one queue node, and watches the one right before it.
//!
//! A queue knows nothing of leases. What a contender gets for its queue node is the affair of the recipe that queues:
//! it reads what it needs together with the queue in one request, and deletes the queue node in a transaction of its
//! own.
//!
//! # Layout
//!
//! ```text
//! P-__lock__                               persistent              the queue about P, a sibling of P
//! P-__lock__/<32 hex>__lock__<10 digits>   ephemeral, sequential   a queue node; the data is the identifier in UTF-8
//! ```
//!
//! # Invariants
//!
//! - The order of a queue is the sequence that the server gave, not the name.
//! - A contender watches the queue node right before its own. So a queue node that goes wakes one waiter, and not all.
//! - Every request for a queue node has a unique name of its own, by which the queue node is found after a lost reply.
//! - The servers remove a queue node when the session of its contender is over.
//! - The sequence is a counter of 31 bits. Once it is used up, after more than two thousand million contenders on one
//!   path, the servers give no order any more. Entering is an error then, which says to delete the queue.
//!
//! # Steps
//!
//! | step | reply lost | session gone | caller gives up | process stopped |
//! | --- | --- | --- | --- | --- |
//! | enter: create the queue node, and read the queue | sync, then look for the unique name; if it is not there, enter under another name, and sweep the first | enter again, at the end | delete every queue node with that name | the servers remove the queue node after the session timeout |
//! | watch the queue node before | the protocol client renews the watch | enter again, at the end | delete the queue node | as above |
//! | withdraw: delete the queue node | sync, list the queue, and delete what is there | nothing is left to do: the servers remove the queue node | goes on in the background | as above |
//! | sweep: search for a queue node that comes late, for three session timeouts | search again | nothing is left to do | goes on in the background | as above |
//!
//! # Source
//!
//! The lock recipe of ZooKeeper's documentation, and kazoo's `Lock`, whose znodes these are; the unique names
//! are those of Curator's protected creates.
//!
//! # Files
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`names`] | what the znodes are called (pure) |
//! | [`order`] | who is next (pure) |
//! | [`contender`] | entering, and where the queue node stands |
//! | `watch` | waiting for the queue node before, and telling the position |
//! | `own_watch` | noticing that an operator has deleted the queue node |
//! | `withdraw` | giving the queue node up |
//! | `sweep` | removing a queue node that comes late |

pub mod contender;
pub mod names;
pub mod order;
mod own_watch;
mod sweep;
mod watch;
mod withdraw;
