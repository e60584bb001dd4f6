//! The node's tracked connections of an address end before another trust domain has the address.
//!
//! A peer outside can keep a UDP mapping of a masqueraded container alive for as long as it likes;
//! without this it would reach the next container that has the address. A deleted slot records that
//! its addresses are tracked. Connections are deleted before a new slot with such an address is
//! entered in the maps: by then the old interface, and with it the last packet that can make one, is
//! gone. The agent does it ahead of time for all such addresses together.

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

/// Deletes connections of all addresses that were in use and are not any more, and forgets addresses
/// that have rested. Says how many connections there were.
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
