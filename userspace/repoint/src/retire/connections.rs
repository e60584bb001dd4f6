//! Deletes an address's tracked connections before another trust domain has the address.
//!
//! A peer outside can keep a UDP mapping of a masqueraded container alive for as long as it likes.
//! Without the deletion, the peer would reach the next container that has the address. A deleted
//! slot records that its addresses are tracked. Building a slot with such an address deletes the
//! connections before it writes the map entries. The old interface is gone by then, and with it the
//! last packet that can create a connection. The agent deletes the connections of all such
//! addresses together, ahead of time.

use std::collections::HashSet;

use crate::{
    failpoint,
    netlink::forget_connections_of,
    node::{Node, NodeError, addresses::addresses_of},
    store::{Slot, Tracked},
};

/// Deletes connections of the addresses of slots that are being built, in one pass.
pub(crate) fn forget_connections<'a>(
    node: &Node,
    slots: impl IntoIterator<Item = &'a Slot>,
) -> Result<(), NodeError> {
    let tracked = node.store.read(|transaction| transaction.tracked(addresses_of(slots)))?;
    forget(node, &tracked).map(drop)
}

/// Deletes connections of all addresses that are no longer in use, and ends cooldowns that are
/// over. Returns the number of connections.
pub fn forget_old_connections(node: &Node, now: u64) -> Result<usize, NodeError> {
    let tracked = node.store.read(|transaction| transaction.all_tracked())?;
    let forgotten = forget(node, &tracked)?;
    node.store.write(|transaction| transaction.end_cooldowns(now))?;
    Ok(forgotten)
}

fn forget(node: &Node, tracked: &[Tracked]) -> Result<usize, NodeError> {
    if tracked.is_empty() {
        return Ok(0);
    }
    let addresses: HashSet<_> = tracked.iter().map(|one| one.address).collect();
    let forgotten = forget_connections_of(&addresses)?;
    failpoint::hit("connections:forgotten");
    node.store.write(|transaction| transaction.untrack(tracked))?;
    failpoint::hit("connections:recorded");
    Ok(forgotten)
}
