//! ADD: attach a container to a network.

use super::del::detach;
use crate::{
    agent_socket,
    cni::{CniResult, Dns},
    conf::{IpamConf, User},
    ipam::resolv_conf,
    model::NetnsPath,
    node::{Node, NodeError, Request, effective::pool_template, holders::name_holders},
    serve::{
        assign::AssignedSlot,
        direct::add_direct,
        guards::{ContainerNetns, container_netns},
        plan::{Reuse, reuse},
        result::result,
    },
    store::Slot,
    template::NodeContext,
};

/// Attaches a container: its interface, addresses and routes are there when this returns, and
/// nothing is left when it fails.
///
/// ADD takes a slot that waits. Without one it builds a slot, if the pool has room. Otherwise it
/// builds an interface in the container's own namespace.
pub fn add(request: &Request) -> Result<CniResult, NodeError> {
    let (path, netns) = container_netns(request)?;
    let user = request.conf.pod(&request.args)?;
    if let IpamConf::Delegated(plugin) = &request.conf.ipam {
        // A missing IPAM plugin fails ADD before anything is claimed, because it could not release addresses.
        drop(request.delegate(plugin)?);
    }
    let node = Node::open(&request.conf.directories)?;
    attach(&node, request, &user, path, &netns)
        .map_err(|error| name_holders(&node, &request.conf, error))
}

/// Attaches a container with a slot of the pool, or in its own namespace.
fn attach(
    node: &Node,
    request: &Request,
    user: &User,
    path: &NetnsPath,
    netns: &ContainerNetns,
) -> Result<CniResult, NodeError> {
    let decline = match reuse(node, request, user, path, netns)? {
        Reuse::Slot(assigned) => return add_slot(node, request, path, &assigned),
        Reuse::Declined(decline) => Some(decline),
        Reuse::NoPool => None,
    };
    let result = add_direct(node, request, user, decline, path, &netns.own)?;
    if decline.is_some() {
        agent_socket::notify(&node.directories.run, "");
    }
    Ok(result)
}

/// The result for a container that was given a slot.
fn add_slot(
    node: &Node,
    request: &Request,
    path: &NetnsPath,
    assigned: &AssignedSlot,
) -> Result<CniResult, NodeError> {
    let result = prepared_result(node, request, path, &assigned.slot);
    if result.is_err() {
        // Report the original error, not the error of the cleanup.
        drop(detach(node, &assigned.slot, request));
    } else if !assigned.outcome.is_hit() {
        // The agent need not learn of a hit at once.
        agent_socket::notify(&node.directories.run, "");
    }
    result
}

/// The result of a slot that was built before.
pub(super) fn prepared_result(
    node: &Node,
    request: &Request,
    path: &NetnsPath,
    slot: &Slot,
) -> Result<CniResult, NodeError> {
    let dns = match &request.conf.ipam {
        IpamConf::Own(own) => {
            own.resolv_conf.as_deref().map_or(Ok(Dns::default()), resolv_conf::read)?
        }
        IpamConf::Delegated(_) => Dns::default(),
    };
    let template = pool_template(node, &request.conf, slot.stored_template())?;
    let context = NodeContext { addresses: slot.addresses.clone(), mtu: slot.require_built()?.mtu };
    Ok(result(slot, &template.instantiate(&context), path, request.conf.resolve_dns(dns)))
}
