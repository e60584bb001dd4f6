//! DEL: detach a container from a network.

use super::{LifecycleError, Node, Request, release::release};
use crate::conf::IpamConf;

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
        _ => release_unknown(request),
    }
}

/// Another plugin may know of an attachment that we do not.
fn release_unknown(request: &Request) -> Result<(), LifecycleError> {
    match &request.conf.ipam {
        IpamConf::Own(_) => Ok(()),
        IpamConf::Delegated(plugin) => Ok(request.delegate(plugin)?.del()?),
    }
}
