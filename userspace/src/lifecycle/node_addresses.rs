//! Addresses that the node has itself, and its routers: no container gets them.

use std::net::IpAddr;

use super::LifecycleError;
use crate::{
    cni::PluginName,
    ipam::{NodeAddresses, RangeSet, unusable},
    netlink::{RouteSocket, default_routers, own_addresses},
};

/// Those that are in these ranges. Looked for before an address is chosen, and not within the
/// transaction that does: it asks the kernel.
pub(super) fn node_addresses(sets: &[RangeSet]) -> Result<NodeAddresses, LifecycleError> {
    Ok(all()?.within(sets))
}

fn all() -> Result<NodeAddresses, LifecycleError> {
    let mut socket = RouteSocket::open()?;
    let own = own_addresses(&mut socket)?;
    Ok(NodeAddresses { own, routers: default_routers(&mut socket)? })
}

/// Refuses addresses that another plugin gave and that do not work.
pub(super) fn check_given(
    plugin: &PluginName,
    given: impl Iterator<Item = IpAddr>,
) -> Result<(), LifecycleError> {
    let node = all()?;
    for address in given {
        if let Some(why) = unusable(&node, address) {
            let plugin = plugin.to_string();
            return Err(LifecycleError::UnusableAddress { plugin, address, why });
        }
    }
    Ok(())
}
