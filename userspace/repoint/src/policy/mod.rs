//! Decisions about slots, as pure functions of what is on record.

mod refill;
mod retention;

pub use refill::{Demand, MOST_BUILT, MOST_DRAINED, Plan, Supply, plan};
pub use retention::{MOST_RETIRED, Reason, Retirement, retire};

/// Most slots that came back deleted at a time: pools are filled in between.
pub const MOST_DELETED: usize = 32;
/// Most slots that came back scrubbed at a time.
pub const MOST_SCRUBBED: usize = 32;
