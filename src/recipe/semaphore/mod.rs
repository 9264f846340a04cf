//! N slots on a path: at most N identifiers hold a lease there. A lock is a semaphore of one slot.
//!
//! Contenders take their turn through a [`queue`](crate::recipe::queue), kazoo's and Salt's contenders among them.
//!
//! `lock` and `unlock` go by the identifier: to lock again is no second hold, and whoever names the identifier unlocks
//! it. A hold goes by its own lease, and releases that and no other.
//!
//! # Layout
//!
//! ```text
//! P                                        persistent   the pool; the data is the limit in ASCII decimal
//! P/<32 hex>                               persistent   a lease; the data is the identifier in UTF-8
//!                                          or ephemeral
//! P-__lock__                               persistent   the queue about the pool
//! P-__lock__/<32 hex>__lock__<10 digits>   ephemeral    a queue node, of a contender
//! P-__lock__/<32 hex>                      ephemeral    the liveness node of the kept lease of that name
//! P-__reason__                             persistent   why slots are held; made by the first who gives a reason
//! P-__reason__/<32 hex>                    as the lease the reason node of the lease of that name, in JSON
//! P-__reason__/<32 hex>-evicted            persistent   the notice that says who has taken the lease of that name away
//! ```
//!
//! # Invariants
//!
//! - Never more identifiers hold a slot than the limit says (`force` apart). A lease is added only by the first in the
//!   queue, and only while the pool has fewer children than its limit; or beside a lease of the same identifier.
//! - The transaction that adds a lease checks that the pool is the version of which the limit was read. So a limit that
//!   is lowered holds at once.
//! - The transaction that adds a lease beside another of the identifier checks that the other is there. The slot is the
//!   identifier's until the last of its leases is gone, in whatever order they are given back.
//! - Every child of the pool takes up a slot, also one that is no lease.
//! - The transaction for a lease deletes the queue node of its contender. So whoever deletes that queue node has no
//!   lease, and a transaction that comes late finds no queue node and does nothing.
//! - The name of a lease is never used again. What is deleted under that name is this very lease.
//! - A hold deletes its own lease and no other. Only `unlock` goes by the identifier.
//! - A reason node is created in the transaction that adds its lease, and deleted by whoever of us deletes the lease.
//!   One whose lease kazoo has deleted says nothing to anybody: who holds a slot is told by the leases alone. The next
//!   `unlock` that looks for leases deletes it.
//! - A notice of an eviction is created in the transaction that deletes the lease, so it is there when the holder looks.
//!   It stays for a day, and then until the next eviction or the removal of the pool.
//! - A lease that a session has locked for the time being is replaced when the same session locks for good. A kept
//!   lease is replaced by the identifier's next kept lease, once its liveness node is gone. The count stays the same.
//!
//! # Steps
//!
//! | step | reply lost | session gone | caller gives up | process stopped |
//! | --- | --- | --- | --- | --- |
//! | enter the queue, and read queue and pool | as in the queue | as in the queue | as in the queue | as in the queue |
//! | take: create the lease, and delete the queue node, in one transaction | sync, then look for the lease by its name | start over; a persistent lease is found by the half of its name that tells the identifier | delete the queue node; where it is gone already the lease was taken, and the caller gets it, or it is given back | the lease stays where it is persistent |
//! | create the pool: pool, queue and lease in one transaction | enter the queue, and look for the lease by its name | start over | look for the lease in the background, and give it back: there is no queue node whose deletion would prove that it will not come | as above |
//! | watch the pool, as the first | the protocol client renews the watches | start over | delete the queue node | the servers remove the queue node after the session timeout |
//! | release: delete the lease of a hold | delete that name again; a lease that is gone by then was deleted by the first request | an ephemeral lease is gone as well, and counts as lost; one that the servers keep for longer is deleted in the next session | goes on in the background | a persistent lease stays, and the servers remove an ephemeral one after the session timeout |
//! | is it held: read the lease | read again | an ephemeral lease is lost | nothing was changed | the answer is as old as the reply |
//! | wait for the loss: watch the lease | the protocol client renews the watch | an ephemeral lease is lost; so it counts already when the servers have heard nothing for a session timeout | nothing was changed | the loss is told as soon as the process goes on |
//! | unlock: delete the leases of an identifier | delete the same leases again; those that are gone count as given back | the same in a new session | the error says that the slot may have been given back | leases that were not deleted stay |
//! | evict: delete a lease of an identifier, and create a notice of that, in one transaction | the same leases again; those that are gone count as taken away | the same in a new session | the error says that the slot may have been taken away | leases that were not deleted stay |
//! | remove the pool: delete reason tree, queue and pool in one transaction, while all are empty | look: a pool that is gone was removed; of one that is in use it is not known | the same in a new session | the error says that the pool may have been removed | nothing was changed, or the pool is gone |
//! | change the limit: write the pool if it is the version that was read | read: the next version with that number is this write | the same in a new session | the error says that the limit may have been changed | nothing was changed, or the limit was |
//!
//! # Source
//!
//! Kazoo's `Semaphore`, whose znodes these are; the lock recipe of ZooKeeper's documentation; lost replies
//! after Curator's protected creates. The hold is after the `Lease` of Curator's `InterProcessSemaphoreV2` and the
//! session and mutex of etcd's `concurrency`.
//!
//! # Files
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`claim`] | who wants a slot of which pool, and on what terms (pure) |
//! | [`reason`] | why a slot is held, beside its lease (pure) |
//! | [`limit`] | what the data of a pool means, and whether a slot is free (pure) |
//! | [`names`] | what leases are called (pure) |
//! | `pool` | reading a pool with its queue, and creating it |
//! | `lease` | which leases of a pool are an identifier's |
//! | `claimant`, `take` | a claim on its way to a lease, and the transaction that adds it |
//! | `acquire` | waiting for a slot, and what the caller is told |
//! | `hold`, `release`, `lost` | a lease that a caller has: whether it is there, giving it back, learning of its loss |
//! | `unlock`, `evict` | giving the slot of an identifier back; taking it away from one, and saying who did |
//! | [`events`] | what has happened between two readings of a pool (pure) |
//! | `status`, `follow`, `set_max` | who holds and who waits, now and at every change; changing the limit |
//! | `pools`, `remove` | which pools there are; removing one that nobody uses |

mod acquire;
pub mod claim;
mod claimant;
pub mod events;
mod evict;
mod follow;
mod hold;
mod lease;
pub mod limit;
mod lost;
pub mod names;
mod pool;
mod pools;
pub mod reason;
mod release;
mod remove;
mod set_max;
mod status;
mod take;
mod unlock;

pub use crate::recipe::queue::contender::Positions;
pub use acquire::{acquire, force, undo, Acquired};
pub use claim::Claim;
pub use evict::{evict, eviction, Evicted, Eviction};
pub use follow::follow;
pub use hold::{counts_as_lost, is_held, Hold, Of};
pub use lost::{lost, lost_early};
pub use pools::{below_chroot, neighbours, pools, Listed};
pub use reason::Reason;
pub(crate) use release::give_back;
pub use release::release;
pub use remove::remove_pool;
pub use set_max::{set_max, Change};
pub use status::{holders, obstacles, status, Holder, Obstacles, Status, Waiter};
pub use unlock::unlock;
