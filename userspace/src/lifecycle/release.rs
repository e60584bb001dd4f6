//! Giving an attachment up: what DEL, GC and a failed ADD have in common.

use super::{LifecycleError, Node, Request, node::now};
use crate::{
    failpoint,
    slot::{release_masquerade, tear_down},
    store::{Slot, SlotState},
    types::SlotId,
};

/// Removes all there is of a slot, and then its record. Every step is tried; if one fails, the
/// record stays, and calling again goes on where this ended.
pub fn release(node: &Node, slot: SlotId, request: &Request) -> Result<(), LifecycleError> {
    let Some(slot) = condemn(node, slot)? else {
        return Ok(());
    };
    failpoint::hit("release:condemned");
    let mut errors: Vec<LifecycleError> = Vec::new();
    match node.maps() {
        Ok(maps) => {
            errors.extend(tear_down(&slot, maps.as_ref()).into_iter().map(Into::into));
        }
        Err(error) => errors.push(error),
    }
    errors.extend(release_addresses(&slot, request).err());
    failpoint::hit("release:addresses");
    if errors.is_empty() {
        forget(node, &slot)?;
        failpoint::hit("release:forgotten");
    }
    if slot.masquerade && errors.is_empty() {
        errors.extend(release_masquerade(&node.directories.run, &node.store).err().map(Into::into));
    }
    summary(&request.attachment.to_string(), errors)
}

/// Marks the slot given up; none where somebody has finished it already.
fn condemn(node: &Node, slot: SlotId) -> Result<Option<Slot>, LifecycleError> {
    node.store.write(|transaction| {
        if transaction.slot(slot)?.is_none() {
            return Ok(None);
        }
        Ok(Some(transaction.advance(slot, SlotState::Condemned, now(), |_| ())?))
    })
}

/// Has the plugin that gave the slot's addresses take them back: the one on record, since the
/// configuration may name another by now.
fn release_addresses(slot: &Slot, request: &Request) -> Result<(), LifecycleError> {
    let Some(plugin) = &slot.ipam else { return Ok(()) };
    Ok(request.delegate(plugin)?.del()?)
}

fn forget(node: &Node, slot: &Slot) -> Result<(), LifecycleError> {
    node.store.write(|transaction| Ok(transaction.forget(slot)?))
}

/// One error out of many.
pub(super) fn summary(what: &str, mut errors: Vec<LifecycleError>) -> Result<(), LifecycleError> {
    if errors.is_empty() {
        return Ok(());
    }
    let first = Box::new(errors.remove(0));
    Err(LifecycleError::Release { what: what.to_owned(), first, rest: errors })
}
