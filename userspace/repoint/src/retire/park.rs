//! PARK: a slot that was in use is withdrawn from its user, and kept.

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

/// Parks a slot: no packet passes when this returns. The agent scrubs it then; without an agent, this does,
/// unless a process uses the namespace. Where the pins are lost, no map can be written: the programs that are
/// attached pass packets until a sweep attaches new ones.
///
/// If this is killed between two steps, the next DEL begins it again. A slot that is still being built or is
/// claimed is deleted, because the ADD that owns it may still mount it. Returns false if the slot has changed
/// since it was read.
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
        // Where that cannot be done now, the slot stays parked and dirty, for an agent, or for an ADD
        // that lacks a slot: its container is detached all the same.
        drop(scrub_now(node, slot.id));
    }
    Ok(true)
}

/// Takes the slot's namespace from the runtime's path, stops its traffic and forgets its user. Gives the
/// slot as it is then; none, where it has changed since it was read: another DEL was faster, and the
/// slot may be another container's by now.
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

/// Points the maps at nobody, and forgets the slot's user where its namespace `is_unbound`. Both in one
/// transaction: the slot does not become another's in between, and a sweep does not find one that is
/// in use and has no traffic.
fn stop(
    node: &Node,
    seen: &Slot,
    maps: Option<&Maps>,
    is_unbound: bool,
) -> Result<Option<Slot>, NodeError> {
    node.store.write(|transaction| {
        let Some(mut slot) = transaction.unchanged(seen)? else {
            return Ok(None);
        };
        if let Some(maps) = maps {
            write_entries(&slot, slot.host_ifindex, Identity::PARKED, maps)?;
            failpoint::hit("park:pointed");
        }
        if is_unbound {
            transaction.detach(&mut slot)?;
            if slot.state() != SlotState::Dirty {
                slot.become_state(SlotState::Dirty, now())?;
            }
            transaction.put_slot(&slot)?;
        }
        Ok(Some(slot))
    })
}
