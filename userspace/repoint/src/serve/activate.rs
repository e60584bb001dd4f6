//! Activates a claimed slot: binds its namespace over the container's path, and writes its map entries.
//! The operation ACTIVATE is in `verbs/activate.rs`.

use crate::{
    datapath::Maps,
    failpoint,
    netns::{Netns, bind_over},
    node::{Node, NodeError, conflict::ensure_unchanged, now},
    slot::write_waiting_entries,
    store::{Built, Slot, SlotState},
};

/// Activates a claimed slot: binds its namespace over the runtime's path, writes its map entries,
/// and records both.
pub(super) fn activate(
    node: &Node,
    maps: &Maps,
    slot: &Slot,
    netns: &Netns,
) -> Result<(), NodeError> {
    if slot.netns != Some(netns.inode()) {
        return Err(NodeError::StrangeNetns { slot: slot.id });
    }
    let Built { host_ifindex, .. } = slot.require_built()?;
    if let Some(path) = &slot.netns_path {
        bind_over(netns, path)?;
    }
    failpoint::hit("activate:bound");
    let is_behind = node.store.write(|transaction| {
        // No other process can write meanwhile. After a DEL, another container may have the slot,
        // and this ADD must not start its traffic.
        let unchanged = ensure_unchanged(transaction, slot)?;
        let is_behind = node.provide_policies(transaction, &unchanged)?;
        write_waiting_entries(&unchanged, host_ifindex.get(), unchanged.identity, maps)?;
        failpoint::hit("activate:entries");
        transaction.advance_read(unchanged, SlotState::Active, now(), |_| ())?;
        Ok::<_, NodeError>(is_behind)
    })?;
    failpoint::hit("activate:active");
    if is_behind {
        node.finish_policies_of_others();
    }
    Ok(())
}
