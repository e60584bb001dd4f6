//! PARK: a slot that was in use is withdrawn from its user, and kept.

use std::slice;

use super::{
    LifecycleError, Node, destroy::destroy, node::now, release::summary, scrub::scrub_now,
};
use crate::{
    bell,
    datapath::Maps,
    failpoint,
    netns::pop,
    slot::point,
    store::{Slot, SlotState},
    types::Identity,
};

/// Parks a slot: no packet passes from the first step on. Then it is for the agent to bring it back
/// to what it was; where there is no agent, that is done here if nobody uses the namespace any more.
///
/// Killed between two steps, it is done again from the beginning. A slot that is claimed and not yet
/// handed over is given up: who claimed it may be about to mount it, and nobody else may get it.
pub fn park(node: &Node, slot: &Slot) -> Result<(), LifecycleError> {
    if slot.state() == SlotState::Claimed {
        return destroy(node, slice::from_ref(slot));
    }
    withdraw(node, slot)?;
    if !bell::ring(&node.directories.run, &format!("parked slot {} of {}", slot.id, slot.network)) {
        // Where that cannot be done now, the slot stays parked and dirty, for an agent, or for an ADD
        // that lacks a slot: its container is detached all the same.
        drop(scrub_now(node, slot.id));
    }
    Ok(())
}

/// Stops the slot's traffic, takes its namespace from the runtime's path and forgets its user.
pub(super) fn withdraw(node: &Node, slot: &Slot) -> Result<(), LifecycleError> {
    let mut errors: Vec<LifecycleError> = Vec::new();
    let parked = node.with_maps(|maps| stop_traffic(node, slot, maps));
    errors.extend(parked.err());
    failpoint::hit("park:pointed");
    if let (Some(path), Some(namespace)) = (&slot.netns_path, slot.netns) {
        errors.extend(pop(namespace, path).err().map(Into::into));
    }
    failpoint::hit("park:popped");
    summary(&format!("slot {}", slot.id), errors)?;
    node.store.write(|transaction| {
        let Some(mut slot) = transaction.slot(slot.id)?.filter(|now| has_same_user(now, slot))
        else {
            return Ok(());
        };
        transaction.detach(&mut slot)?;
        if slot.state() != SlotState::Dirty {
            slot.become_state(SlotState::Dirty, now())?;
        }
        transaction.put_slot(&slot)
    })?;
    failpoint::hit("park:dirty");
    Ok(())
}

/// Stops a slot's traffic, unless another DEL has, and somebody else has it by now. Nobody can get it
/// meanwhile: that takes a transaction.
fn stop_traffic(node: &Node, slot: &Slot, maps: &Maps) -> Result<(), LifecycleError> {
    node.store.read(|transaction| {
        let current = transaction.slot(slot.id)?;
        if current.is_some_and(|now| has_same_user(&now, slot)) {
            point(slot, slot.host_ifindex, Identity::PARKED, maps)?;
        }
        Ok(())
    })
}

/// Whether a slot is still his whose it was.
fn has_same_user(now: &Slot, then: &Slot) -> bool {
    (&now.container, &now.netns_path) == (&then.container, &then.netns_path)
}
