//! DEL: detach a container from a network.

use super::{LifecycleError, Node, Request, lost::detach_lost, park::park, release::release};
use crate::{
    conf::IpamConf,
    store::{Slot, SlotState},
    types::AttachmentId,
};

/// Detaches a container. Nothing of the attachment is left when this returns; there having been
/// nothing is no error, and neither is a namespace that is gone (CNI spec, section 2, DEL).
pub fn del(request: &Request) -> Result<(), LifecycleError> {
    let node = Node::open_existing(&request.conf.directories)?;
    if let Some(node) = &node {
        while let Some(slot) = attached(node, &request.attachment)? {
            // Else an ADD or another DEL has moved it on meanwhile.
            if detach(node, &slot, request)? {
                return Ok(());
            }
        }
    }
    // Another plugin must get its addresses back whatever becomes of the rest.
    let detached = detach_lost(node.as_ref(), request);
    release_unknown(request)?;
    detached
}

/// The slot of an attachment.
pub(super) fn attached(
    node: &Node,
    attachment: &AttachmentId,
) -> Result<Option<Slot>, LifecycleError> {
    Ok(node.store.read(|transaction| match transaction.attachment(attachment)? {
        Some(id) => transaction.slot(id),
        None => Ok(None),
    })?)
}

/// Takes a slot from its container: one of a pool is kept, any other removed, and so is one that
/// was never whole. Says whether it was done: not where the slot has changed since it was read.
pub(super) fn detach(node: &Node, slot: &Slot, request: &Request) -> Result<bool, LifecycleError> {
    let is_whole = !matches!(slot.state(), SlotState::Building | SlotState::Deleting);
    if slot.owns_netns && is_whole {
        return park(node, slot);
    }
    release(node, slot, request)
}

/// Another plugin may know of an attachment that we do not.
fn release_unknown(request: &Request) -> Result<(), LifecycleError> {
    match &request.conf.ipam {
        IpamConf::Own(_) => Ok(()),
        IpamConf::Delegated(plugin) => Ok(request.delegate(plugin)?.del()?),
    }
}
