//! Giving an attachment up: what DEL, GC and a failed ADD have in common.

use std::{
    path::Path,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use super::{LifecycleError, Node, Request, node::now};
use crate::{
    conf::NetConf,
    failpoint,
    netns::pop,
    slot::{release_masquerade, remove_interface, withdraw},
    store::{Slot, SlotState},
    types::SlotId,
};

/// Removes all there is of a slot with its namespace, if it is the slot's own, and then its record.
/// Every step is tried; if one fails, the record stays, and calling again goes on where this ended.
///
/// Where the record is gone, all is looked for as well: a DEL may have met an ADD half-way, which went
/// on to make what that DEL could not see.
pub fn release(node: &Node, slot: &Slot, request: &Request) -> Result<(), LifecycleError> {
    let condemned = condemn(node, slot.id)?;
    let slot = condemned.as_ref().unwrap_or(slot);
    failpoint::hit("release:condemned");
    let mut errors = remove(node, slot, request.remover.as_deref());
    errors.extend(release_addresses(slot, request).err());
    failpoint::hit("release:addresses");
    if errors.is_empty() {
        forget(node, slot, &request.conf)?;
        failpoint::hit("release:forgotten");
    }
    summary(&request.attachment.to_string(), errors)
}

/// Removes what the kernel has of the slot. Removing the interface and removing the masquerade rule
/// wait for a grace period each, so they wait together; both after the last packet of the slot.
fn remove(node: &Node, slot: &Slot, remover: Option<&Path>) -> Vec<LifecycleError> {
    let mut errors: Vec<LifecycleError> = Vec::new();
    match node.maps() {
        Ok(maps) => errors.extend(withdraw(slot, maps.as_ref()).into_iter().map(Into::into)),
        Err(error) => errors.push(error),
    }
    thread::scope(|scope| {
        let rule = slot
            .masquerade
            .then(|| scope.spawn(|| release_masquerade(&node.directories.run, &node.store)));
        errors.extend(remove_interface(slot, remover).err().map(Into::into));
        if slot.owns_netns {
            errors.extend(release_netns(node, slot).err());
        }
        match rule.map(ScopedJoinHandle::join) {
            Some(Ok(released)) => errors.extend(released.err().map(Into::into)),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {}
        }
    });
    errors
}

/// Takes the slot's own namespace from the runtime's path, and lets go of it.
fn release_netns(node: &Node, slot: &Slot) -> Result<(), LifecycleError> {
    if let (Some(path), Some(namespace)) = (&slot.netns_path, slot.netns) {
        pop(namespace, path)?;
        failpoint::hit("release:popped");
    }
    if let Some(hidden) = node.hidden_existing()? {
        hidden.enter(|inside| inside.release(slot.id))??;
    }
    failpoint::hit("release:netns");
    Ok(())
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

fn forget(node: &Node, slot: &Slot, conf: &NetConf) -> Result<(), LifecycleError> {
    let cooldown = conf.pool.map(|policy| policy.cooldown).unwrap_or_default();
    node.store.write(|transaction| Ok(transaction.forget(slot, rest(slot, cooldown))?))
}

/// Until when the addresses of a slot rest; none where nobody had them, or they need no rest.
pub(super) fn rest(slot: &Slot, cooldown: Duration) -> Option<u64> {
    let cooldown = u64::try_from(cooldown.as_nanos()).unwrap_or(u64::MAX);
    (slot.used && cooldown > 0).then(|| now().saturating_add(cooldown))
}

/// One error out of many.
pub(super) fn summary(what: &str, mut errors: Vec<LifecycleError>) -> Result<(), LifecycleError> {
    if errors.is_empty() {
        return Ok(());
    }
    let first = Box::new(errors.remove(0));
    Err(LifecycleError::Release { what: what.to_owned(), first, rest: errors })
}
