//! How a container gets its network: from a pool, or directly.

mod activate;
pub(crate) mod assign;
mod decision;
pub(crate) mod direct;
pub(crate) mod guards;
pub(crate) mod plan;
mod reclaim;
pub(crate) mod result;
pub(crate) mod select;

pub use decision::NO_POOL;
