//! DEL: detach a container from a network.

use crate::{
    conf::IpamConf,
    failpoint,
    model::AttachmentId,
    node::{Node, NodeError, Request},
    retire::{lost::detach_lost, park::park, release::release},
    store::{Slot, SlotState},
};

/// Detaches a container. Nothing of the attachment is left when this returns; there having been
/// nothing is no error, and neither is a namespace that is gone (CNI spec, section 2, DEL).
pub fn del(request: &Request) -> Result<(), NodeError> {
    loop {
        let node = Node::open_existing(&request.conf.directories)?;
        if detach_recorded(node.as_ref(), request)? {
            return Ok(());
        }
        // Another plugin must get its addresses back whatever becomes of the rest.
        let detached = detach_lost(node.as_ref(), request);
        failpoint::hit("del:unknown");
        let may_be_taken = release_unknown(request)?;
        detached?;
        // An ADD of the same container, which came meanwhile, has lost its addresses by that: the plugin
        // gives them to others.
        if !may_be_taken || !is_attached(request)? {
            return Ok(());
        }
    }
}

/// Detaches the container from the slot on record. Returns whether there was one.
fn detach_recorded(node: Option<&Node>, request: &Request) -> Result<bool, NodeError> {
    let Some(node) = node else { return Ok(false) };
    while let Some(slot) = attached(node, &request.attachment)? {
        // Else an ADD or another DEL has moved it on meanwhile.
        if detach(node, &slot, request)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_attached(request: &Request) -> Result<bool, NodeError> {
    match Node::open_existing(&request.conf.directories)? {
        Some(node) => Ok(attached(&node, &request.attachment)?.is_some()),
        None => Ok(false),
    }
}

/// The slot of an attachment.
pub(super) fn attached(node: &Node, attachment: &AttachmentId) -> Result<Option<Slot>, NodeError> {
    Ok(node.store.read(|transaction| match transaction.attachment(attachment)? {
        Some(id) => transaction.slot(id),
        None => Ok(None),
    })?)
}

/// Takes a slot from its container: one of a pool is kept, any other removed, and so is one that
/// was never whole. Says whether it was done: not where the slot has changed since it was read.
pub(crate) fn detach(node: &Node, slot: &Slot, request: &Request) -> Result<bool, NodeError> {
    let is_whole = !matches!(slot.state(), SlotState::Building | SlotState::Deleting);
    if slot.owns_netns && is_whole {
        return park(node, slot);
    }
    release(node, slot, request)
}

/// Another plugin may know of an attachment that is not on record. Returns whether there is one.
fn release_unknown(request: &Request) -> Result<bool, NodeError> {
    match &request.conf.ipam {
        IpamConf::Own(_) => Ok(false),
        IpamConf::Delegated(plugin) => {
            request.delegate(plugin)?.del()?;
            Ok(true)
        }
    }
}
