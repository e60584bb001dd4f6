//! DEL: detach a container from a network.

use crate::{
    conf::IpamConf,
    failpoint,
    model::AttachmentId,
    node::{Node, NodeError, Request},
    retire::{lost::detach_lost, park::park, release::release},
    store::{Slot, SlotState},
};

/// Detaches a container. Nothing of the attachment is left when this returns. A missing attachment
/// or namespace is not an error (CNI spec, section 2, DEL).
pub fn del(request: &Request) -> Result<(), NodeError> {
    loop {
        let node = Node::open_existing(&request.conf.directories)?;
        if detach_recorded(node.as_ref(), request)? {
            return Ok(());
        }
        // The IPAM plugin must get its addresses back, whatever the result of the rest.
        let detached = detach_lost(node.as_ref(), request);
        failpoint::hit("del:unknown");
        let may_be_taken = release_unknown(request)?;
        detached?;
        // An ADD of the same container may have come meanwhile. The release above took its
        // addresses, and the plugin may assign them again, so DEL detaches this attachment too.
        if !may_be_taken || !is_attached(request)? {
            return Ok(());
        }
    }
}

/// Detaches the container from the slot on record. Returns whether there was one.
fn detach_recorded(node: Option<&Node>, request: &Request) -> Result<bool, NodeError> {
    let Some(node) = node else { return Ok(false) };
    while let Some(slot) = attached(node, &request.attachment)? {
        // Otherwise an ADD or another DEL has changed the slot meanwhile.
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

/// Takes a slot from its container. A whole slot of a pool is parked, and any other slot is
/// removed. Returns false if the slot has changed since it was read.
pub(crate) fn detach(node: &Node, slot: &Slot, request: &Request) -> Result<bool, NodeError> {
    let is_whole = !matches!(slot.state(), SlotState::Building | SlotState::Deleting);
    if slot.owns_netns() && is_whole {
        return park(node, slot);
    }
    release(node, slot, request)
}

/// Calls the IPAM plugin for an attachment that is not on record. Returns whether the network has
/// such a plugin.
fn release_unknown(request: &Request) -> Result<bool, NodeError> {
    match &request.conf.ipam {
        IpamConf::Own(_) => Ok(false),
        IpamConf::Delegated(plugin) => {
            request.delegate(plugin)?.del()?;
            Ok(true)
        }
    }
}
