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
//! | 13 | to no endpoint of this node | host stack, `to_host` |
//! | 14 | to an endpoint of a parked slot | drop, `parked` |
//! | 15 | with no hop left | host stack, which answers "time exceeded", `to_host` |
//! | 16 | that cannot be rewritten | drop, `unwritable` |
//! | 17 | any other | to the endpoint's interface, `redirected` |
//!
//! 9 and 10 come before 11, because the kernel of a container that comes up sends such packets from
//! the unspecified address in all honesty (duplicate address detection, multicast listener reports):
//! these are no forgeries, and are not logged as such.
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
    packet::Packet,
    verdict::{self, Verdict},
};

#[classifier]
fn from_container(context: TcContext) -> i32 {
    let packet = Packet::new(context);
    verdict::conclude(&packet, decide(&packet))
}

/// Lines 1 to 6.
fn decide(packet: &Packet) -> Verdict {
    let interface = interfaces::find_active(packet.ifindex())?;
    let frame = ethernet::Header::load(packet)?;
    if frame.source != interface.mac {
        return Err(foreign_mac(packet, &frame));
    }
    match frame.protocol(packet)? {
        Protocol::Ipv4 => decide_ip::<ipv4::Header>(packet, &interface, &frame),
        Protocol::Ipv6 => decide_ip::<ipv6::Header>(packet, &interface, &frame),
    }
}

/// Lines 7 to 17.
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
    let Some(endpoint) = H::endpoint(header.destination()) else {
        return Ok(Reason::ToHost);
    };
    if endpoint.identity == 0 {
        return Err(Reason::Parked);
    }
    if header.hops_left() <= 1 {
        return Ok(Reason::ToHost);
    }
    route(packet, &header, &endpoint)
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
