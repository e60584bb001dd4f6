//! Decisions about slots, as pure functions of what is on record.

mod refill;

pub use refill::{Demand, Plan, Supply, plan};
