//! `from_container`: what a container sends, at the ingress hook of its host-side veth.
//!
//! The first line that applies decides. A slot's own address as destination is an endpoint like any
//! other.
//!
//! | | Packet | Outcome |
//! |---|---|---|
//! | 1 | on an interface without a record | drop, `unknown_interface` |
//! | 2 | of a parked slot | drop, `parked` |
//! | 3 | source MAC not the container's | drop, `foreign_mac` |
//! | 4 | VLAN-tagged, once or twice | drop, `vlan` |
//! | 5 | ARP | drop, `neighbour_discovery` |
//! | 6 | neither IPv4 nor IPv6 | drop, `unknown_protocol` |
//! | 7 | IP header cut off, also IPv4 options, IPv6 hop-by-hop options before `ICMPv6` | drop, `truncated` |
//! | 8 | wrong version; header length, total length or payload length that cannot be | drop, `malformed` |
//! | 9 | IPv6 neighbour discovery | drop, `neighbour_discovery` |
//! | 10 | to a multicast or broadcast address, of IP or of Ethernet | drop, `multicast` |
//! | 11 | source address not the slot's | drop, `foreign_address` |
//! | 12 | destination MAC not the gateway's | drop, `foreign_mac` |
//! | 13 | to a loopback, IPv4-mapped or unspecified address, or to the gateway's own | drop, `martian` |
//! | 14 | to a link-local address, no endpoint's, that the node would forward; the network denies it | drop, `link_local` |
//! | 15 | to no endpoint of this node | host stack, `to_host` |
//! | 16 | to an endpoint of a parked slot | drop, `parked` |
//! | 17 | with no hop left | host stack, which answers "time exceeded", `to_host` |
//! | 18 | larger than the MTU of the endpoint's interface, or a super-packet with such segments | host stack, which answers or fragments, `too_large` |
//! | 19 | to an endpoint whose interface is gone | drop, `undeliverable` |
//! | 20 | that cannot be rewritten | drop, `unwritable` |
//! | 21 | any other | to the endpoint's interface, `redirected` |
//!
//! 9 and 10 come before 11, because the kernel of a container that comes up sends such packets from
//! the unspecified address in all honesty (duplicate address detection, multicast listener reports):
//! these are no forgeries, and are not logged as such.
//!
//! 13: no host owns these addresses, the gateway's included, so the host stack would send such a
//! packet on by the node's default route.
//!
//! The redirect is a routed hop and takes one from the TTL or hop limit as the host stack would:
//! traceroute shows the node, loops end, and what must not leave its link (hop limit 255) is told
//! apart by its receiver.

use aya_ebpf::{macros::classifier, programs::TcContext};
use repoint_common::{counter::Reason, endpoint::Endpoint, interface::Interface, mac::GATEWAY_MAC};

use crate::{
    ethernet::{self, Protocol},
    interfaces,
    ip::Ip,
    ipv4, ipv6, log,
    mtu::{self, Fit},
    packet::Packet,
    verdict::{self, Verdict},
};

#[classifier]
fn from_container(context: TcContext) -> i32 {
    let packet = Packet::new(context);
    let Some(interface) = interfaces::find(packet.ifindex()) else {
        return verdict::conclude(&packet, 0, Err(Reason::UnknownInterface));
    };
    verdict::conclude(&packet, interface.slot, decide(&packet, &interface))
}

/// Lines 2 to 6.
fn decide(packet: &Packet, interface: &Interface) -> Verdict {
    interfaces::ensure_active(interface)?;
    let frame = ethernet::Header::load(packet)?;
    if frame.source != interface.mac {
        return Err(foreign_mac(packet, &frame));
    }
    match frame.protocol(packet)? {
        Protocol::Ipv4 => decide_ip::<ipv4::Header>(packet, interface, &frame),
        Protocol::Ipv6 => decide_ip::<ipv6::Header>(packet, interface, &frame),
    }
}

/// Lines 7 to 16.
fn decide_ip<H: Ip>(packet: &Packet, interface: &Interface, frame: &ethernet::Header) -> Verdict {
    let header = H::load(packet)?;
    if header.is_to_group() || frame.is_to_group() {
        return Err(Reason::Multicast);
    }
    if !interfaces::owns::<H>(interface, packet.ifindex(), header.source()) {
        header.warn_of_source(packet);
        return Err(Reason::ForeignAddress);
    }
    if frame.destination != GATEWAY_MAC {
        return Err(foreign_mac(packet, frame));
    }
    if header.is_to_martian() {
        return Err(Reason::Martian);
    }
    let Some(endpoint) = H::endpoint(header.destination()) else {
        return leave(packet, interface, &header);
    };
    if endpoint.identity == 0 {
        return Err(Reason::Parked);
    }
    deliver(packet, &header, &endpoint)
}

/// Lines 14 and 15.
fn leave<H: Ip>(packet: &Packet, interface: &Interface, header: &H) -> Verdict {
    let is_denied = header.is_to_link_local() && !interfaces::allows_link_local(interface);
    if is_denied && header.would_be_forwarded(packet) {
        return Err(Reason::LinkLocal);
    }
    Ok(Reason::ToHost)
}

/// Lines 17 to 21.
fn deliver<H: Ip>(packet: &Packet, header: &H, endpoint: &Endpoint) -> Verdict {
    if header.hops_left() <= 1 {
        return Ok(Reason::ToHost);
    }
    match mtu::compare(packet, endpoint.ifindex) {
        Fit::Fits => route(packet, header, endpoint),
        Fit::TooLarge => Ok(Reason::TooLarge),
        Fit::NoInterface => Err(Reason::Undeliverable),
    }
}

/// Makes of the packet what a router would have sent to the endpoint.
fn route<H: Ip>(packet: &Packet, header: &H, endpoint: &Endpoint) -> Verdict {
    ethernet::readdress(packet, endpoint.mac)?;
    header.take_hop(packet)?;
    Ok(verdict::redirect(endpoint.ifindex))
}

fn foreign_mac(packet: &Packet, frame: &ethernet::Header) -> Reason {
    log::foreign_mac(packet, frame.source, frame.destination);
    Reason::ForeignMac
}
