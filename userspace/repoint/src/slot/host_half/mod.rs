//! A slot's half on the node: the one description of what it is to be, and the one comparison.
//!
//! CHECK, the sweep, the scrub, the agent and an ADD without an agent all compare by
//! [`compare_half`], and repair by [`restore_half`].

mod look;
mod restore;

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use repoint_common::mac::GATEWAY_MAC;

pub use look::{SeenHalf, look_at_halves, look_at_ways};
pub(crate) use restore::attach_filters;
pub use restore::{HalfError, restore_half};

use super::{GROUP, GROUP_MASQUERADED, is_alias_of};
use crate::{model::Mac, netlink::LinkInfo, store::Slot};

/// Group of a slot's interface on the node.
#[must_use]
pub fn host_group(masquerade: bool) -> u32 {
    if masquerade { GROUP_MASQUERADED } else { GROUP }
}

/// Which part of a slot's half on the node is not as it was built.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The Ethernet address, which is the gateway's for the container.
    Mac(Option<Mac>),
    /// The largest packet.
    Mtu(u32),
    /// The link group, by which the masquerade rule knows it.
    Group(u32),
    /// Another link has it as a port.
    Master(u32),
    /// It is down.
    Down,
    /// It does not resolve addresses.
    Arp,
    /// Sysctl `net.ipv4.conf.INTERFACE.forwarding` is 0.
    Forwarding,
    /// Sysctl `net.ipv6.conf.INTERFACE.disable_ipv6` is 1.
    Ipv6Disabled,
    /// It may get a link-local address of its own.
    LinkLocal,
    /// The node does not send packets to an address by the interface.
    Route(IpAddr),
    /// The permanent neighbour entry of an address is gone, or differs.
    Neighbour(IpAddr),
    /// It lacks a program, or runs one of another data plane.
    Programs(ProgramFault),
}

/// What is wrong with the programs of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProgramFault {
    /// One is not attached.
    Missing,
    /// They are not those that are pinned.
    Others,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(Some(mac)) => write!(f, "its MAC address is {mac}"),
            Self::Mac(None) => f.write_str("it has no MAC address"),
            Self::Mtu(mtu) => write!(f, "its MTU is {mtu}"),
            Self::Group(group) => write!(f, "its link group is {group}"),
            Self::Master(index) => write!(f, "it is a port of interface {index}"),
            Self::Down => f.write_str("it is down"),
            Self::Arp => f.write_str("address resolution is off (NOARP)"),
            Self::Forwarding => f.write_str("sysctl net.ipv4.conf.*.forwarding of it is 0"),
            Self::Ipv6Disabled => f.write_str("sysctl net.ipv6.conf.*.disable_ipv6 of it is 1"),
            Self::LinkLocal => f.write_str("its mode of IPv6 addresses is not none"),
            Self::Route(address) => write!(f, "the node has no route to {address} by it"),
            Self::Neighbour(address) => write!(f, "the neighbour entry of {address} is gone"),
            Self::Programs(ProgramFault::Missing) => f.write_str("its interface lacks a program"),
            Self::Programs(ProgramFault::Others) => {
                f.write_str("its interface runs programs of another data plane")
            }
        }
    }
}

/// How a slot's half on the node compares with what it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Its interface is gone.
    Gone,
    /// An interface of its name has another index, or another alias.
    Strange,
    /// It is there, and these parts are not as they were built.
    Own(Vec<Part>),
}

/// Parts in words, one after the other.
#[must_use]
pub fn parts_in_words(parts: &[Part]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Compares what is seen of a slot's half with what its record says. `programs` are the numbers of the
/// pinned programs; none: programs are not compared.
///
/// Objects that other programs added are no difference.
#[must_use]
pub fn compare_half(slot: &Slot, seen: &SeenHalf, programs: Option<[u32; 2]>) -> Compared {
    let Some(link) = &seen.link else { return Compared::Gone };
    // An interface of the name of a slot that is not built is not on record.
    let Some(built) = slot.built else { return Compared::Strange };
    let ifindex = built.host_ifindex.get();
    if link.ifindex != ifindex
        || link.name != slot.id.host_ifname()
        || !is_alias_of(&link.alias, slot)
    {
        return Compared::Strange;
    }
    let mut parts = link_parts(slot, built.mtu, link);
    parts.extend(ways(slot, ifindex, seen));
    parts.extend(programs.and_then(|pinned| program_fault(pinned, seen.programs)));
    Compared::Own(parts)
}

fn link_parts(slot: &Slot, mtu: u32, link: &LinkInfo) -> Vec<Part> {
    let (mut has_v4, mut has_v6) = (false, false);
    for address in &slot.addresses {
        match address {
            IpNet::V4(_) => has_v4 = true,
            IpNet::V6(_) => has_v6 = true,
        }
    }
    let ipv6 = link.ipv6.filter(|_| has_v6);
    let when = |is_wrong: bool, part: Part| is_wrong.then_some(part);
    let parts = [
        when(link.mac != Some(Mac(GATEWAY_MAC)), Part::Mac(link.mac)),
        when(link.mtu != mtu, Part::Mtu(link.mtu)),
        when(link.group != host_group(slot.masquerade), Part::Group(link.group)),
        link.master.map(Part::Master),
        when(!link.up, Part::Down),
        when(!link.arp, Part::Arp),
        when(has_v4 && link.forwarding == Some(false), Part::Forwarding),
        when(ipv6.is_some_and(|ipv6| ipv6.disabled), Part::Ipv6Disabled),
        when(ipv6.is_some_and(|ipv6| ipv6.link_local), Part::LinkLocal),
    ];
    parts.into_iter().flatten().collect()
}

fn ways(slot: &Slot, ifindex: u32, seen: &SeenHalf) -> Vec<Part> {
    let addresses = slot.addresses.iter().map(IpNet::addr);
    let mut parts = Vec::new();
    for (number, address) in addresses.enumerate() {
        if seen.routes.get(number).copied().flatten() != Some(ifindex) {
            parts.push(Part::Route(address));
        }
        if seen.neighbours.get(number).copied().flatten() != Some(slot.mac) {
            parts.push(Part::Neighbour(address));
        }
    }
    parts
}

fn program_fault(pinned: [u32; 2], attached: [Option<u32>; 2]) -> Option<Part> {
    match attached {
        [Some(from), Some(to)] if [from, to] == pinned => None,
        [Some(_), Some(_)] => Some(Part::Programs(ProgramFault::Others)),
        _ => Some(Part::Programs(ProgramFault::Missing)),
    }
}

#[cfg(test)]
mod tests;
