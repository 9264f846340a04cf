//! A claim that ends by the clock: one holder at a time, and a dead one blocks nobody for longer than the duration.
//!
//! A slot of a [`semaphore`](crate::recipe::semaphore) ends with its session, or never. A timed lease ends when it was not
//! renewed for its duration, whatever has died: its holder, the holder's host, or the network between.
//!
//! # Layout
//!
//! ```text
//! P                                        persistent   the record; the data is JSON: see `lock_record`
//! P-__wait__                               persistent   the queue of those who wait
//! P-__wait__/<32 hex>__lock__<10 digits>   ephemeral    a queue node, of a waiter; the data is its owner
//! ```
//!
//! # Invariants
//!
//! - The record says who holds the lease. Each change needs the version that was read before: of two writers one succeeds.
//! - For its holder the lease ends a duration after a moment *before* the last acknowledged renewal was sent, by the
//!   holder's own clock, which goes on while the machine is suspended. What is over is never taken back: it is taken anew,
//!   with a greater token.
//! - Another takes it over only once the record has been at the same version for the whole duration that the record names:
//!   as the other has seen it by its own clock, or as the servers' clock says. Both begin *after* the holder has sent the
//!   renewal, and end after the lease has ended for its holder.
//! - By the servers' clock: a znode of the contender was stamped by the leader at least the duration and `max_clock_skew`
//!   after the record, and the record was read after that. `max_clock_skew` is by how much the clocks of two leaders
//!   differ, or one that was set.
//! - No wall clock of a holder or of a contender is compared with that of another. (The rule of the original, which does
//!   that, can be asked for.)
//! - A hold goes by its own unique name, which is in the record. Another process of the same owner does not share it,
//!   unless both go by the owner's name.
//! - The fencing token is the zxid of the transaction that took the lease. Renewals keep it; the first one writes it into
//!   the record, and until then it is the zxid of the last change.
//! - Whoever finds the lease free, and nobody waiting, takes it with one write. All others queue. Only the first in the
//!   queue watches the record, so that a renewal wakes one waiter.
//! - Nobody deletes the record. Who does so lets another in at once, beside the holder.
//! - A hold whose record is written by hand, with another holder or a shorter duration, is lost when its holder learns of it.
//!   Another holder does not inherit its token.
//! - By the owner's name a lease is not made shorter by taking it again: another process may count on what it was promised.
//!
//! # Steps
//!
//! | step | reply lost | session gone | process stopped | clock moved |
//! | --- | --- | --- | --- | --- |
//! | read record and queue | read again, after a sync | read again in a new session | a write that follows needs the version, and fails if it has changed | no clock is read |
//! | enter the queue, wait for the one before | as in the queue | enter again, at the end; what was seen of the record still counts | the servers remove the queue node after the session timeout | no clock is read |
//! | wait, as the first, until the lease is over | the protocol client renews the watch; the record is read again | enter again, at the end | the wait is longer by that, and the write needs the version | wall clocks do not matter; a stamp of servers whose clocks differ by more than `max_clock_skew` lets the lease be taken too early |
//! | stamp: write the own queue node | write it again | enter again, at the end | the stamp is older than it might be, which only delays | as above |
//! | take: write the record, if it is at the version that was read, and delete the queue node, in one transaction | read: the hold's own name in it tells that it was taken. It counts from the first request; where it is over by then, or at an acknowledgement, it is taken again, with a greater token | as when the reply is lost | taken again, as when the reply is lost | the times in the record are wrong, which nobody acts on |
//! | caller gives up while the take is in flight | read; where the version is the same still, write that nobody holds it, so that the take cannot come any more; give back what was taken, or is over | as when the reply is lost | the lease ends by the clock | no clock is read |
//! | renew: write the record, if it is at the version that was written last | read: while it has the hold's name, write again; the lost one does not count | renew in a new session | over at the first look, nothing is written, and the loss is told | wall clocks do not matter: the hold counts by its own clock |
//! | somebody else writes the record | the protocol client renews the watch; the next renewal finds out | as when the reply is lost | found out at the first look | no clock is read |
//! | over by the clock: watch the record, write nothing | the protocol client renews the watch | read again in a new session | found out at the first look | wall clocks do not matter |
//! | release: write that nobody holds it, if it is the hold's | read: the next version with just that is this write; where another has it before the hold has ended, it was given back | as when the reply is lost | it is over by the clock, and the next one does not wait for this | the times in the record are wrong, which nobody acts on |
//!
//! # Source
//!
//! leaselocker and the leader election of Kubernetes' client-go, whose record this is: `holderIdentity`,
//! `leaseDurationSeconds`, `acquireTime`, `renewTime`, `leaseTransitions`. The ends of a lease for its holder and for
//! others are after Gray and Cheriton, *Leases* (1989); the token after Burrows, *The Chubby lock service* (2006).
//!
//! # Files
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`claim`] | who wants which lease, and on what terms (pure) |
//! | [`lock_record`] | what the record says, and its JSON (pure) |
//! | [`judge`] | whether the lease of another is over (pure) |
//! | [`steps`] | what each step writes into the record (pure) |
//! | [`names`] | what the znodes are called (pure) |
//! | [`clock`] | the clock by which a lease is held |
//! | `snapshot` | reading a record with its queue |
//! | `contest`, `acquire` | a claim on its way to the lease, and what the caller is told |
//! | `hold`, `keep` | a lease that is held: until when; renewing it, and noticing its loss |
//! | `release` | giving a lease back, and renewing one by name |
//! | `status` | who holds and who waits |
//! | `record_calls` | reading and writing a record as it is |

mod acquire;
pub mod claim;
pub mod clock;
mod contest;
mod hold;
pub mod judge;
mod keep;
pub mod lock_record;
pub mod names;
mod record_calls;
mod release;
mod snapshot;
mod status;
pub mod steps;

pub use acquire::{acquire, undo};
pub use claim::{Claim, Pace, Rule};
pub use contest::Taken;
pub use hold::{End, Hold, News, Tell};
pub use keep::{keep, renew};
pub use lock_record::LockRecord;
pub use record_calls::{create, get, update, Read};
pub use release::{release, renew_by_name, Whose};
pub use status::{below, status, Holder, Status, Summary, Waiter};
