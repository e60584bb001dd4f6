//! Pools of slots: what they build, how many, and which they delete.

pub(crate) mod build;
pub(crate) mod build_spec;
mod refill;
mod retention;
pub(crate) mod shortage;
pub(crate) mod stock;
pub(crate) mod template_use;
pub(crate) mod terms;

pub use build::{Order, prepare, refill};
pub use refill::{Demand, MOST_BUILT, MOST_DRAINED, Plan, Supply, plan};
pub use retention::{Eviction, MOST_EVICTED, Reason, evictions};
pub(crate) use stock::resume;
pub use stock::{delete_oldest, delete_stale, demanded, drain, resume_scrubbing, supply};

/// Most returned slots that are deleted at a time. Pools are filled in between.
pub const MOST_DELETED: usize = 32;
/// Most returned slots that are scrubbed at a time.
pub const MOST_SCRUBBED: usize = 32;
