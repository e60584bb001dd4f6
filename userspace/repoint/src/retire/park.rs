//! Parks a slot: withdraws it from its container and keeps it.

use std::slice;

use super::{delete::delete_slots, release::summary, scrub::scrub_now};
use crate::{
    agent_socket,
    datapath::Maps,
    failpoint,
    model::Identity,
    netns::unbind,
    node::{Node, NodeError, now},
    slot::write_entries,
    store::{Slot, SlotState},
};

/// Parks a slot: no packet passes when this returns. The agent scrubs the slot afterwards. Without
/// an agent this function does, unless a process uses the namespace. Where the pins are lost, no
/// map can be written: the attached programs pass packets until a sweep attaches new ones.
///
/// If the process is killed between two steps, the next DEL begins again. A slot that is still
/// being built or is claimed is deleted, because the ADD that owns it may still mount it. Returns
/// false if the slot has changed since it was read.
pub(crate) fn park(node: &Node, slot: &Slot) -> Result<bool, NodeError> {
    if matches!(slot.state(), SlotState::Building | SlotState::Claimed | SlotState::Deleting) {
        delete_slots(node, slice::from_ref(slot))?;
        return Ok(node.store.read(|transaction| transaction.slot(slot.id))?.is_none());
    }
    if withdraw(node, slot)?.is_none() {
        return Ok(false);
    }
    if !agent_socket::notify(
        &node.directories.run,
        &format!("parked slot {} of {}", slot.id, slot.network),
    ) {
        // If the scrub fails now, the slot stays dirty for the agent, or for an ADD that lacks a
        // slot. The container is detached all the same.
        drop(scrub_now(node, slot.id));
    }
    Ok(true)
}

/// Unbinds the slot's namespace, stops its traffic and removes its container from the record.
/// Returns the slot's new record; none if the slot has changed since it was read. Another DEL was
/// faster then, and another container may have the slot.
pub(crate) fn withdraw(node: &Node, slot: &Slot) -> Result<Option<Slot>, NodeError> {
    let unbound: Result<(), NodeError> = match (&slot.netns_path, slot.netns) {
        (Some(path), Some(namespace)) => unbind(namespace, path).map(drop).map_err(Into::into),
        _ => Ok(()),
    };
    failpoint::hit("park:unbound");
    let is_unbound = unbound.is_ok();
    let withdrawn = node
        .with_maps(|maps| stop(node, slot, Some(maps), is_unbound))
        .and_then(|stopped| stopped.map_or_else(|| stop(node, slot, None, is_unbound), Ok));
    failpoint::hit("park:dirty");
    let (withdrawn, failed) = match withdrawn {
        Ok(withdrawn) => (withdrawn, None),
        Err(error) => (None, Some(error)),
    };
    let errors = unbound.err().into_iter().chain(failed).collect();
    summary(&format!("slot {}", slot.id), errors).map(|()| withdrawn)
}

/// Stops the slot's traffic, and forgets its container if the namespace `is_unbound`. Both happen
/// in one transaction: no other container gets the slot in between, and no sweep finds a slot in
/// use without traffic.
fn stop(
    node: &Node,
    seen: &Slot,
    maps: Option<&Maps>,
    is_unbound: bool,
) -> Result<Option<Slot>, NodeError> {
    node.store.write(|transaction| {
        let Some(slot) = transaction.unchanged(seen)? else {
            return Ok(None);
        };
        if let (Some(maps), Some(ifindex)) = (maps, slot.host_ifindex()) {
            write_entries(&slot, ifindex, Identity::PARKED, maps)?;
            failpoint::hit("park:pointed");
        }
        if !is_unbound {
            return Ok(Some(slot));
        }
        Ok(Some(transaction.detach_read(slot, SlotState::Dirty, now())?))
    })
}
