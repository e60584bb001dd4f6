//! DEL: detach a container from a network.

use super::{
    LifecycleError, Node, Request,
    release::{release, release_delegated},
};

/// Detaches a container. Nothing of the attachment is left when this returns; there having been
/// nothing is no error, and neither is a namespace that is gone (CNI spec, section 2, DEL).
pub fn del(request: &Request) -> Result<(), LifecycleError> {
    let node = Node::open_existing(&request.conf.directories)?;
    let slot = match &node {
        Some(node) => node.store.read(|transaction| transaction.attachment(&request.attachment))?,
        None => None,
    };
    match (node, slot) {
        (Some(node), Some(slot)) => release(&node, slot, request),
        // Another plugin may know of an attachment that we do not.
        _ => release_delegated(request),
    }
}
