//! Deleting slots of pools, many at a time.

use std::collections::HashSet;

use super::release::{cooldown_end, summary, withdraw_entries};
use crate::{
    failpoint,
    model::SlotId,
    netns::unbind,
    node::{Node, NodeError, now},
    slot::{has_interface, release_masquerade, remove_interfaces},
    store::{Slot, SlotState, StoreError},
};

/// Slots taken down together: the kernel changes no link meanwhile, for anybody.
const BATCH: usize = 64;

/// Deletes slots that have namespaces of their own. Every step is tried for every slot. A slot with
/// a failed step stays on record. A slot that has changed since it was read is left alone, unless
/// it is being deleted. Returns the deleted slots.
///
/// # Errors
/// Where a step fails, and in another network namespace than the slots' host netns.
pub fn delete_slots(node: &Node, slots: &[Slot]) -> Result<Vec<SlotId>, NodeError> {
    if !slots.is_empty() {
        node.ensure_host_netns()?;
    }
    let (mut deleted, mut errors) = (Vec::with_capacity(slots.len()), Vec::new());
    let masquerade = slots.iter().any(|slot| slot.masquerade);
    for batch in slots.chunks(BATCH) {
        match destroy_batch(node, batch) {
            Ok(batch) => deleted.extend(batch),
            Err(error) => errors.push(error),
        }
    }
    if masquerade {
        errors.extend(release_masquerade(&node.directories.run, &node.store).err().map(Into::into));
    }
    summary("the slots", errors).map(|()| deleted)
}

fn destroy_batch(node: &Node, slots: &[Slot]) -> Result<Vec<SlotId>, NodeError> {
    // Opens both before it marks slots that it could not remove.
    let (maps, netns_store) = (node.maps()?, node.existing_netns_store()?);
    let mut slots = mark_deleting(node, slots)?;
    failpoint::hit("delete:deleting");
    let mut failures = Failures::default();
    for slot in &slots {
        failures.extend(slot, withdraw_entries(node, slot, maps.as_ref()));
        if let (Some(path), Some(namespace)) = (&slot.netns_path, slot.netns) {
            failures.extend(slot, unbind(namespace, path).err().map(Into::into));
            failpoint::hit("delete:unbound");
        }
    }
    if let Err(error) = remove_interfaces(&slots) {
        failures.errors.push(error.into());
        failures.kept.extend(slots.iter().filter(|slot| has_interface(slot)).map(|slot| slot.id));
    }
    failpoint::hit("delete:links");
    if let Some(netns_store) = netns_store {
        netns_store.enter(|inside| {
            for slot in &slots {
                failures.extend(slot, inside.release(slot.id).err().map(Into::into));
            }
        })?;
    }
    failpoint::hit("delete:namespaces");
    slots.retain(|slot| !failures.kept.contains(&slot.id));
    forget(node, &slots)?;
    failpoint::hit("delete:forgotten");
    let deleted = slots.iter().map(|slot| slot.id).collect();
    summary("a batch of slots", failures.errors).map(|()| deleted)
}

/// Errors of a deletion, and the slots that stay on record because of them.
#[derive(Default)]
struct Failures {
    errors: Vec<NodeError>,
    kept: HashSet<SlotId>,
}

impl Failures {
    fn extend(&mut self, slot: &Slot, errors: impl IntoIterator<Item = NodeError>) {
        let known = self.errors.len();
        self.errors.extend(errors);
        if self.errors.len() > known {
            self.kept.insert(slot.id);
        }
    }
}

fn forget(node: &Node, slots: &[Slot]) -> Result<(), StoreError> {
    node.store.write(|transaction| {
        slots.iter().try_for_each(|slot| {
            let pool = transaction.pool(&slot.pool_id())?;
            let cooldown = pool.and_then(|pool| pool.configured.cooldown);
            transaction.forget(slot, cooldown_end(slot, cooldown))
        })
    })
}

/// Marks slots as being deleted. Returns the marked slots, and those no longer on record.
fn mark_deleting(node: &Node, slots: &[Slot]) -> Result<Vec<Slot>, StoreError> {
    node.store.write(|transaction| {
        let mut deleting = Vec::with_capacity(slots.len());
        for slot in slots {
            let recorded = transaction.slot(slot.id)?;
            let is_deleting = |slot: &Slot| slot.state() == SlotState::Deleting;
            if !recorded.as_ref().is_none_or(is_deleting) {
                if transaction.unchanged(slot)?.is_none() {
                    continue;
                }
                transaction.advance(slot.id, SlotState::Deleting, now(), |_| ())?;
            }
            deleting.push(slot.clone());
        }
        Ok(deleting)
    })
}
