//! N slots on a path.

mod acquire;
pub mod claim;
mod claimant;
mod hold;
mod lease;
pub mod limit;
mod lost;
pub mod names;
mod pool;
mod release;
mod set_max;
mod status;
mod take;
mod unlock;

pub use crate::recipe::queue::contender::Positions;
pub use acquire::{acquire, force, undo, Acquired};
pub use claim::Claim;
pub use hold::{is_held, Hold};
pub use lost::lost;
pub use release::release;
pub use set_max::{set_max, Change};
pub use status::{holders, status, Holder, Status, Waiter};
pub use unlock::unlock;
