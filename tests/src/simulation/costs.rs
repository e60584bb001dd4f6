//! What things take on a node, as measured on the machine of `docs/bench`: two processors, two
//! builders.

use std::time::Duration;

/// Building a chunk of slots: what it takes beside the slots, for the fingerprint and the like.
pub const BUILD: Duration = Duration::from_millis(8);
/// Building a slot, by both workers: 4,000 took 6.66 s.
pub const BUILD_EACH: Duration = Duration::from_micros(1670);
/// Building a slot while a container waits for it, where nothing else is built.
pub const BUILD_COLD: Duration = Duration::from_micros(1750);
/// Scrubbing what came back: the look for users from outside, and the wait for sockets.
pub const SCRUB: Duration = Duration::from_millis(20);
/// Scrubbing a slot, by all workers.
pub const SCRUB_EACH: Duration = Duration::from_millis(5);
/// Taking slots down together: the kernel's grace periods.
pub const DESTROY: Duration = Duration::from_millis(35);
/// Taking down a slot: 4,000, by 64 together, took 6.08 s.
pub const DESTROY_EACH: Duration = Duration::from_millis(1);
/// A look that finds nothing to do, with all of a round that is around it.
pub const LOOK: Duration = Duration::from_millis(1);
/// How long the pool controller rests when nothing notifies it.
pub const REST: Duration = Duration::from_millis(200);

/// `fixed`, and `each` for each of `count`.
pub(super) fn of(fixed: Duration, each: Duration, count: usize) -> Duration {
    fixed + each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}
