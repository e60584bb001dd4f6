//! Addresses that no container can have, or may have.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use repoint_common::GATEWAY_V4;

use super::RangeSet;

/// A block whose addresses do not work in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    prefix: IpNet,
    what: &'static str,
}

/// Every block whose addresses do not work in a container.
///
/// The other blocks of the special-purpose registries (RFC 6890) work on a node: private, shared and
/// documentation addresses, 240.0.0.0/4 without its last address, and IPv4 link-local addresses.
const BLOCKS: [Block; 8] = [
    v4([0, 0, 0, 0], 8, "addresses of this network (RFC 1122)"),
    v4([127, 0, 0, 0], 8, "loopback addresses"),
    v4([224, 0, 0, 0], 4, "multicast addresses"),
    v4([255, 255, 255, 255], 32, "the broadcast address"),
    v6([0, 0], 96, "the unspecified, the loopback and IPv4-compatible addresses"),
    v6([0, 0xffff], 96, "IPv4-mapped addresses: give them as IPv4"),
    LINK_LOCAL,
    v6([0xff00, 0], 8, "multicast addresses"),
];
const LINK_LOCAL: Block =
    v6([0xfe80, 0], 10, "link-local addresses, of which the containers' gateway is one");

const fn v4(octets: [u8; 4], length: u8, what: &'static str) -> Block {
    let [a, b, c, d] = octets;
    Block { prefix: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)), what }
}

/// `words` are the first and the sixth of the address.
const fn v6(words: [u16; 2], length: u8, what: &'static str) -> Block {
    let address = Ipv6Addr::new(words[0], 0, 0, 0, 0, words[1], 0, 0);
    Block { prefix: IpNet::V6(Ipv6Net::new_assert(address, length)), what }
}

impl Block {
    /// The block that a prefix overlaps.
    #[must_use]
    pub fn of(prefix: IpNet) -> Option<Self> {
        let overlaps =
            |block: &Self| block.prefix.contains(&prefix) || prefix.contains(&block.prefix);
        BLOCKS.into_iter().find(overlaps)
    }

    /// The block of an address that a router cannot have either.
    #[must_use]
    pub fn of_router(address: IpAddr) -> Option<Self> {
        Self::of(address.into()).filter(|block| *block != LINK_LOCAL)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.prefix, self.what)
    }
}

/// Addresses that the node has, and those of its routers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeAddresses {
    /// Addresses of its interfaces.
    pub own: Vec<IpAddr>,
    /// Addresses of the routers of its default routes.
    pub routers: Vec<IpAddr>,
}

impl NodeAddresses {
    /// Keeps the addresses that are in a range.
    #[must_use]
    pub fn within(mut self, sets: &[RangeSet]) -> Self {
        let is_within = |address: &IpAddr| sets.iter().any(|set| set.range_of(*address).is_some());
        self.own.retain(is_within);
        self.routers.retain(is_within);
        self
    }

    /// The reserved addresses that are in a range, each with its reason.
    ///
    /// The containers' gateway is among them if it is in a range.
    #[must_use]
    pub fn reserved(&self, sets: &[RangeSet]) -> Vec<(IpAddr, Reserved)> {
        let gateway = [IpAddr::from(GATEWAY_V4)];
        let known = self.own.iter().chain(&self.routers).chain(&gateway);
        let within =
            known.filter(|address| sets.iter().any(|set| set.range_of(**address).is_some()));
        within.filter_map(|address| Some((*address, by_node(self, *address)?))).collect()
    }
}

/// Why no container gets an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It is the gateway of a range's subnet.
    Gateway,
    /// It is a subnet's network address.
    Network,
    /// It is a subnet's broadcast address.
    Broadcast,
    /// It is the gateway of every container.
    ContainersGateway,
    /// It is an address of the node.
    Node,
    /// It is an address of a router of the node.
    Router,
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "a gateway of the network's ranges",
            Self::Network => "the network address of a subnet",
            Self::Broadcast => "the broadcast address of a subnet",
            Self::ContainersGateway => "the gateway of all containers",
            Self::Node => "an address of the node",
            Self::Router => "the gateway of the node",
        })
    }
}

/// Why the node reserves an address, in any range.
pub(super) fn by_node(node: &NodeAddresses, address: IpAddr) -> Option<Reserved> {
    if address == IpAddr::from(GATEWAY_V4) {
        return Some(Reserved::ContainersGateway);
    }
    if node.own.contains(&address) {
        return Some(Reserved::Node);
    }
    node.routers.contains(&address).then_some(Reserved::Router)
}

/// Why a container cannot have an address that another plugin gave.
#[must_use]
pub fn unusable(node: &NodeAddresses, address: IpAddr) -> Option<String> {
    let block = Block::of(address.into()).map(|block| format!("in {block}"));
    block.or_else(|| by_node(node, address).map(|reserved| reserved.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_hold_an_address_that_does_not_work_are_found() {
        for (prefix, block) in [
            ("127.0.0.0/8", "127.0.0.0/8"),
            ("127.1.2.0/24", "127.0.0.0/8"),
            ("0.0.0.0/8", "0.0.0.0/8"),
            ("0.1.0.0/16", "0.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/8"),
            ("224.0.0.0/4", "224.0.0.0/4"),
            ("239.1.2.0/24", "224.0.0.0/4"),
            ("224.0.0.0/3", "224.0.0.0/4"),
            ("255.255.255.0/24", "255.255.255.255/32"),
            ("::/0", "::/96"),
            ("::/64", "::/96"),
            ("::1:0/112", "::/96"),
            ("::ffff:10.1.0.0/120", "::ffff:0.0.0.0/96"),
            ("fe80::/64", "fe80::/10"),
            ("fe80:1::/64", "fe80::/10"),
            ("febf::/112", "fe80::/10"),
            ("ff02::/64", "ff00::/8"),
        ] {
            let found = Block::of(prefix.parse().unwrap()).map(|block| block.prefix.to_string());
            assert_eq!(found.as_deref(), Some(block), "{prefix}");
        }
        for prefix in [
            "10.0.0.0/8",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "192.0.2.0/24",
            "240.0.0.0/5",
            "1.0.0.0/24",
            "126.0.0.0/8",
            "128.0.0.0/16",
            "fd00::/8",
            "fc00::/7",
            "2001:db8::/32",
            "fec0::/64",
            "64:ff9b:1::/48",
            "2000::/3",
        ] {
            assert_eq!(Block::of(prefix.parse().unwrap()), None, "{prefix}");
        }
    }

    #[test]
    fn no_block_has_host_bits() {
        for block in BLOCKS {
            assert_eq!(block.prefix, block.prefix.trunc(), "{block}");
        }
    }

    #[test]
    fn a_router_may_have_a_link_local_address() {
        let router = |text: &str| Block::of_router(text.parse().unwrap());
        assert_eq!(router("fe80::2"), None);
        assert_eq!(router("169.254.1.1"), None);
        for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::1", "ff02::2"] {
            assert!(router(address).is_some(), "{address}");
        }
    }
}
