//! Activating a claimed slot: binding its namespace over the path of the container's, and writing its map entries.

use crate::{
    datapath::Maps,
    failpoint,
    netns::{Netns, bind_over},
    node::{Node, NodeError, conflict::ensure_unchanged, now},
    slot::write_waiting_entries,
    store::{Slot, SlotState},
};

/// Makes a promised slot work: its namespace where the runtime looks for it, its map entries
/// pointing at it, and that on record.
pub(super) fn activate(
    node: &Node,
    maps: &Maps,
    slot: &Slot,
    netns: &Netns,
) -> Result<(), NodeError> {
    if slot.netns != Some(netns.inode()) {
        return Err(NodeError::StrangeNetns { slot: slot.id });
    }
    if let Some(path) = &slot.netns_path {
        bind_over(netns, path)?;
    }
    failpoint::hit("activate:bound");
    node.store.write(|transaction| {
        // While nobody else can write: should a DEL have come meanwhile, the slot may be another's,
        // and its traffic is no more ours to start.
        ensure_unchanged(transaction, slot)?;
        write_waiting_entries(slot, slot.identity, maps)?;
        failpoint::hit("activate:entries");
        transaction.advance(slot.id, SlotState::Active, now(), |_| ())?;
        Ok::<_, NodeError>(())
    })?;
    failpoint::hit("activate:active");
    Ok(())
}
