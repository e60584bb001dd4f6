//! Releases an attachment: the common part of DEL, GC and a failed ADD.

use std::{path::Path, thread, time::Duration};

use crate::{
    conf::NetConf,
    datapath::Maps,
    failpoint,
    model::{NetnsPath, SOFT_COOLDOWN},
    netns::{Netns, unbind},
    node::{Node, NodeError, Request, now},
    slot::{release_masquerade, remove_interface, remove_sources, withdraw},
    store::{Slot, SlotState},
    threads::{self, ThreadError},
};

/// Removes a slot, its own namespace if it has one, and then its record. Every step is tried. If
/// one fails, the record stays, and another call continues. Returns false if the slot has changed
/// since it was read.
pub(crate) fn release(node: &Node, slot: &Slot, request: &Request) -> Result<bool, NodeError> {
    match mark_deleting(node, slot)? {
        Some(slot) => remove_all(node, &slot, request).map(|()| true),
        None => Ok(false),
    }
}

/// Removes the slot of an ADD that failed. If a DEL has deleted the record meanwhile, this still
/// removes what ADD has made since.
pub(crate) fn undo(node: &Node, slot: &Slot, request: &Request) -> Result<(), NodeError> {
    let deleting = mark_deleting(node, slot)?;
    remove_all(node, deleting.as_ref().unwrap_or(slot), request)
}

fn remove_all(node: &Node, slot: &Slot, request: &Request) -> Result<(), NodeError> {
    failpoint::hit("release:deleting");
    let mut errors = remove(node, slot, request.remover.as_deref());
    // After an error, a route or a map entry may still lead to the addresses, and the IPAM plugin
    // must not assign them again. The next DEL releases them.
    if errors.is_empty() {
        errors.extend(release_addresses(node, slot, request).err());
    }
    failpoint::hit("release:addresses");
    if errors.is_empty() {
        forget(node, slot, &request.conf)?;
        failpoint::hit("release:forgotten");
    }
    summary(&request.attachment.to_string(), errors)
}

/// Removes the slot's kernel objects. Removing the interface and removing the masquerade rule wait
/// for a grace period each, so they run in parallel. Both begin after the slot's last packet.
fn remove(node: &Node, slot: &Slot, remover: Option<&Path>) -> Vec<NodeError> {
    let mut errors: Vec<NodeError> = Vec::new();
    match node.maps() {
        Ok(maps) => errors.extend(withdraw_entries(node, slot, maps.as_ref())),
        Err(error) => errors.push(error),
    }
    // ADD adds the rules before it records what it built.
    if !slot.owns_netns() && slot.built.is_none_or(|built| built.source_routed) {
        errors.extend(release_sources(slot).err());
    }
    thread::scope(|scope| {
        let release = || release_masquerade(&node.directories.run, &node.store);
        // If no thread starts, they run one after the other.
        let rule = slot.masquerade.then(|| threads::spawn(scope, release).map_err(|_| release()));
        errors.extend(remove_interface(slot, remover).err().map(Into::into));
        if slot.owns_netns() {
            errors.extend(release_netns(node, slot).err());
        }
        let released = rule.map(|rule| match rule {
            Ok(thread) => thread.join().map_err(|_| ThreadError::Ended.into()),
            Err(released) => Ok(released),
        });
        match released {
            Some(Ok(released)) => errors.extend(released.err().map(Into::into)),
            Some(Err(ended)) => errors.push(ended),
            None => {}
        }
    });
    errors
}

/// Removes the rules that route by the slot's source addresses, if its namespace is still at its path.
fn release_sources(slot: &Slot) -> Result<(), NodeError> {
    let path = slot.netns_path.as_ref().and_then(|path| NetnsPath::new(path).ok());
    // A namespace that is gone, or a path where it never was, has no rules.
    let Some(Ok(netns)) = path.map(|path| Netns::open(&path)) else { return Ok(()) };
    if slot.netns != Some(netns.inode()) {
        return Ok(());
    }
    Ok(netns.run(|| remove_sources(&slot.ifname))??)
}

/// Removes the slot's map entries while no process can write to the database. Thus no other slot
/// gets an address between the check of its entry and the removal.
pub(super) fn withdraw_entries(node: &Node, slot: &Slot, maps: Option<&Maps>) -> Vec<NodeError> {
    let withdrawn = node.store.read(|_| Ok::<_, NodeError>(withdraw(slot, maps)));
    match withdrawn {
        Ok(errors) => errors.into_iter().map(Into::into).collect(),
        Err(error) => vec![error],
    }
}

/// Unbinds the slot's own namespace from the runtime's path, and releases it.
fn release_netns(node: &Node, slot: &Slot) -> Result<(), NodeError> {
    if let (Some(path), Some(namespace)) = (&slot.netns_path, slot.netns) {
        unbind(namespace, path)?;
        failpoint::hit("release:unbound");
    }
    if let Some(netns_store) = node.existing_netns_store()? {
        netns_store.enter(|inside| inside.release(slot.id))??;
    }
    failpoint::hit("release:netns");
    Ok(())
}

/// Marks the slot as being deleted; none if it has changed since it was read. Several processes may
/// remove a slot that is already marked.
fn mark_deleting(node: &Node, seen: &Slot) -> Result<Option<Slot>, NodeError> {
    node.store.write(|transaction| match transaction.slot(seen.id)? {
        Some(slot) if slot.state() == SlotState::Deleting => Ok(Some(slot)),
        Some(_) if transaction.unchanged(seen)?.is_some() => {
            Ok(Some(transaction.advance(seen.id, SlotState::Deleting, now(), |_| ())?))
        }
        _ => Ok(None),
    })
}

/// Has the IPAM plugin release the slot's addresses. The plugin is the recorded one, because the
/// configuration may name another by now.
///
/// The plugin may assign the addresses again at once. Therefore the record loses them first, after
/// the last route and map entry to the slot.
fn release_addresses(node: &Node, slot: &Slot, request: &Request) -> Result<(), NodeError> {
    let Some(plugin) = &slot.ipam else { return Ok(()) };
    if !slot.addresses.is_empty() {
        node.store.write(|transaction| transaction.release_addresses(slot.id, now()))?;
        failpoint::hit("release:unrecorded");
    }
    Ok(request.delegate(plugin)?.del()?)
}

fn forget(node: &Node, slot: &Slot, conf: &NetConf) -> Result<(), NodeError> {
    let cooldown = conf.pool.and_then(|policy| policy.cooldown);
    node.store.write(|transaction| Ok(transaction.forget(slot, cooldown_end(slot, cooldown))?))
}

/// End of the cooldown of a slot's addresses, nanoseconds since the boot. The cooldown begins with
/// the slot's last use.
pub(super) fn cooldown_end(slot: &Slot, cooldown: Option<Duration>) -> u64 {
    let cooldown = cooldown.unwrap_or(SOFT_COOLDOWN);
    let last_used = if slot.state() == SlotState::Parked { slot.changed } else { now() };
    last_used.saturating_add(u64::try_from(cooldown.as_nanos()).unwrap_or(u64::MAX))
}

/// One error out of many.
pub(crate) fn summary(what: &str, mut errors: Vec<NodeError>) -> Result<(), NodeError> {
    if errors.is_empty() {
        return Ok(());
    }
    let first = Box::new(errors.remove(0));
    Err(NodeError::Release { what: what.to_owned(), first, rest: errors })
}
