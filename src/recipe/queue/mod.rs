//! A queue.

pub mod contender;
pub mod names;
pub mod order;
mod sweep;
mod watch;
mod withdraw;
