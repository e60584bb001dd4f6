//! Taking slots back: parking, scrubbing, deleting, and the addresses and connections that go with them.

pub(crate) mod connections;
pub(crate) mod delete;
pub(crate) mod lost;
pub(crate) mod park;
pub(crate) mod release;
pub(crate) mod scrub;
pub(crate) mod scrub_lock;
pub(crate) mod tenants;

pub use connections::forget_old_connections;
pub use delete::delete_slots;
pub use scrub::{IN_USE_TIMEOUT, ScrubOutcome, dirty_slots, holders, scrub};
pub(crate) use scrub_lock::ScrubLock;
pub use tenants::{Evicted, end_lingering};

#[cfg(test)]
mod tests;
