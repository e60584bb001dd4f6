//! Addresses of the node and of its routers: no container gets them.

use std::net::IpAddr;

use super::error::NodeError;
use crate::{
    cni::PluginName,
    conf::{IpamConf, NetConf},
    ipam::{NodeAddresses, RangeSet, Reserved, unusable},
    netlink::{RouteSocket, default_routers, local_addresses_v4, local_addresses_v6},
};

/// Addresses of the network's ranges that no container gets. The node or its router has them, or
/// they are the containers' gateway.
pub fn reserved_addresses(conf: &NetConf) -> Result<Vec<(IpAddr, Reserved)>, NodeError> {
    match &conf.ipam {
        IpamConf::Own(own) => Ok(node_addresses(&own.range_sets)?.reserved(&own.range_sets)),
        IpamConf::Delegated(_) => Ok(Vec::new()),
    }
}

/// Addresses of the node and its routers within these ranges. The function asks the kernel, so the
/// caller reads them before the transaction that chooses an address.
pub(crate) fn node_addresses(sets: &[RangeSet]) -> Result<NodeAddresses, NodeError> {
    Ok(all()?.within(sets))
}

fn all() -> Result<NodeAddresses, NodeError> {
    let mut socket = RouteSocket::open_strict()?;
    let mut own = local_addresses_v4(&mut socket)?;
    own.extend(local_addresses_v6().map_err(NodeError::NodeAddresses)?);
    Ok(NodeAddresses { own, routers: default_routers(&mut socket)? })
}

/// Refuses addresses that another plugin gave and that do not work.
pub(crate) fn check_given(
    plugin: &PluginName,
    given: impl Iterator<Item = IpAddr>,
) -> Result<(), NodeError> {
    let node = all()?;
    for address in given {
        if let Some(why) = unusable(&node, address) {
            let plugin = plugin.to_string();
            return Err(NodeError::UnusableAddress { plugin, address, why });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_addresses_are_the_nodes() {
        let node = all().unwrap();
        let expected: [IpAddr; 1] = ["127.0.0.1".parse().unwrap()];
        assert!(expected.iter().all(|address| node.own.contains(address)), "{node:?}");
    }
}
