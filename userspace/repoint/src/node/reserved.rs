//! Addresses of the node and of its routers: no container gets them.

use std::{
    fs, io,
    net::{IpAddr, Ipv6Addr},
};

use super::error::NodeError;
use crate::{
    cni::PluginName,
    conf::{IpamConf, NetConf},
    ipam::{NodeAddresses, RangeSet, Reserved, unusable},
    netlink::{RouteSocket, default_routers, local_addresses_v4},
};

const IF_INET6: &str = "/proc/thread-self/net/if_inet6";

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
    let mut own = local_addresses_v4()?;
    own.extend(local_addresses_v6()?);
    Ok(NodeAddresses { own, routers: default_routers(&mut RouteSocket::open()?)? })
}

/// The IPv6 addresses of the interfaces in the current namespace. The kernel keeps them in one
/// table and prints only interfaces that have an address. A netlink dump visits all interfaces.
fn local_addresses_v6() -> Result<Vec<IpAddr>, NodeError> {
    match fs::read_to_string(IF_INET6) {
        Ok(table) => Ok(table.lines().filter_map(address_v6).collect()),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(NodeError::NodeAddresses { path: IF_INET6, source }),
    }
}

/// The address that a line begins with: 32 hexadecimal digits.
fn address_v6(line: &str) -> Option<IpAddr> {
    let bits = u128::from_str_radix(line.split(' ').next()?, 16).ok()?;
    Some(Ipv6Addr::from(bits).into())
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
        let line = "fd002170000700000000000000000005 02 40 00 80 eth0";
        assert_eq!(address_v6(line), Some("fd00:2170:7::5".parse().unwrap()));
        assert_eq!(address_v6(""), None);
    }
}
