//! `from_container`: what a container sends, at the ingress hook of its host-side veth.
//!
//! The first line that applies decides. A slot's own address as destination is an endpoint like any
//! other.
//!
//! | | Packet | Outcome |
//! |---|---|---|
//! | 1 | on an interface without a record | drop, `unknown_interface` |
//! | 2 | of a parked slot | drop, `parked` |
//! | 3 | source MAC a group's, zero, or the gateway's | drop, `foreign_mac` |
//! | 4 | VLAN-tagged, once or twice | drop, `vlan` |
//! | 5 | neither IPv4 nor IPv6 nor ARP | drop, `unknown_protocol` |
//! | 6 | ARP request for the gateway | its answer to the container, `answered` |
//! | 7 | other ARP | drop, `neighbour_discovery` |
//! | 8 | IP header cut off, also IPv4 options, IPv6 hop-by-hop options before `ICMPv6` | drop, `truncated` |
//! | 9 | wrong version; header length, total length or payload length that cannot be | drop, `malformed` |
//! | 10 | neighbour solicitation for the gateway | its answer to the container, `answered` |
//! | 11 | other IPv6 neighbour discovery | drop, `neighbour_discovery` |
//! | 12 | to a multicast or broadcast address, of IP or of Ethernet | drop, `multicast` |
//! | 13 | source address not the slot's, save for an echo request from a link-local address to the gateway | drop, `foreign_address` |
//! | 14 | destination MAC not the gateway's | drop, `foreign_mac` |
//! | 15 | ICMP echo request to the gateway | its answer to the container, `answered` |
//! | 16 | to a loopback, IPv4-mapped or unspecified address, or to the gateway's own | drop, `martian` |
//! | 17 | to a link-local address, no endpoint's, that the node would forward; the network denies it | drop, `link_local` |
//! | | the same to another address of a cloud's metadata service | drop, `metadata` |
//! | 18 | to no endpoint of this node | host stack, `to_host` |
//! | 19 | to an endpoint of a parked slot | drop, `parked` |
//! | 20 | to a slot that [`isolation`] of the network of either keeps apart | drop, `isolated` |
//! | 21 | to another slot, where the network of either says `localPath: stack` | host stack, `to_host` |
//! | 22 | that answers what came from that slot by the host stack ([`flows`]) | host stack, `to_host` |
//! | 23 | with no hop left | host stack, which answers "time exceeded", `to_host` |
//! | 24 | larger than the MTU of the endpoint's interface, or a super-packet with such segments | host stack, which answers or fragments, `too_large` |
//! | 25 | to an endpoint whose interface is gone | drop, `undeliverable` |
//! | 26 | that cannot be rewritten | drop, `unwritable` |
//! | 27 | any other | to the endpoint's interface, `redirected` |
//!
//! Behind 16, 19 and 20, and before the lines between them: where the policies of the slot, or of the endpoint's,
//! are enforced, these may drop the packet ([`enforce`] has their reasons).
//!
//! 3: a container may use any other Ethernet address, because no other station is on its link: chained
//! plugins change it, and guests behind a tap have one of their own. From a packet that passes 13 the
//! programs learn where to address frames to ([`learned`]).
//!
//! 6, 10 and 15: the gateway's addresses are configured on no interface, so no host would answer. Slots
//! have permanent neighbour entries for it; guests have none, and containers may flush theirs.
//!
//! 11 and 12 come before 13, because the kernel of a container that comes up sends such packets from the
//! unspecified address (duplicate address detection, multicast listener reports). These are no forgeries,
//! and the programs do not log them as such.
//!
//! 16: no host owns these addresses, the gateway's included, so the host stack would send such a
//! packet on by the node's default route.
//!
//! 22: the host stack translates the addresses of such flows (a service address, a port of the node), and
//! must see their answers to translate them back.
//!
//! The redirect is a routed hop and takes one from the TTL or hop limit as the host stack would:
//! traceroute shows the node, loops end, and what must not leave its link (hop limit 255) is recognised
//! by its receiver.

use aya_ebpf::{macros::classifier, programs::TcContext};
use repoint_common::{
    counter::Reason, endpoint::Endpoint, event::FROM_CONTAINER, interface::Interface,
    mac::GATEWAY_MAC,
};

use crate::{
    arp, endpoints, enforce,
    ethernet::{self, Protocol},
    flows, interfaces,
    ip::Ip,
    ipv4, ipv6, isolation, learned, log,
    mtu::{self, Fit},
    ndp,
    packet::Packet,
    verdict::{self, Verdict},
    work::{self, Handle},
};

#[classifier]
fn from_container(context: TcContext) -> i32 {
    let packet = Packet::new(context, FROM_CONTAINER);
    let (slot, verdict) = match work::begin(packet.ifindex()) {
        Some(mut work) => (work.get().interface.slot, decide(&packet, &mut work)),
        None => (0, Err(Reason::UnknownInterface)),
    };
    verdict::conclude(&packet, slot, verdict)
}

/// Lines 2 to 7, 10 and 11.
#[inline(always)]
fn decide(packet: &Packet, work: &mut Handle) -> Verdict {
    let interface = &work.get().interface;
    interfaces::ensure_active(interface)?;
    let frame = ethernet::Header::load(packet)?;
    if frame.source != interface.mac && !frame.has_station_source() {
        return Err(foreign_mac(packet, &frame));
    }
    match frame.protocol(packet)? {
        Protocol::Arp => arp::answer(packet, interface, &frame),
        Protocol::Ipv4 => decide_ip::<ipv4::Header>(packet, work, &frame),
        Protocol::Ipv6 => match decide_ip::<ipv6::Header>(packet, work, &frame) {
            Err(Reason::NeighbourDiscovery) => ndp::answer(packet, &work.get().interface, &frame),
            verdict => verdict,
        },
    }
}

/// Lines 8, 9, and 12 to 27.
#[inline(never)]
fn decide_ip<H: Ip>(packet: &Packet, work: &mut Handle, frame: &ethernet::Header) -> Verdict {
    let interface = &work.get().interface;
    let header = H::load(packet)?;
    if header.is_to_group() || frame.is_to_group() {
        return Err(Reason::Multicast);
    }
    if !interfaces::owns::<H>(interface, packet.ifindex(), header.source()) {
        if header.is_from_link_to_gateway() && frame.destination == GATEWAY_MAC {
            return header.answer_echo(packet, frame);
        }
        header.warn_of_source(packet);
        return Err(Reason::ForeignAddress);
    }
    if frame.destination != GATEWAY_MAC {
        return Err(foreign_mac(packet, frame));
    }
    learned::learn(packet, interface, frame.source);
    if header.is_to_martian() {
        return header.answer_echo(packet, frame);
    }
    let endpoint = H::endpoint(header.destination());
    if let Some(endpoint) = &endpoint {
        if endpoint.identity == 0 {
            return Err(Reason::Parked);
        }
        if isolation::is_between(interface.into(), endpoint.into()) {
            return Err(Reason::Isolated);
        }
    }
    if interfaces::has_policies(interface) || endpoint.as_ref().is_some_and(endpoints::has_policies)
    {
        enforce::check_sent::<H>(packet, work, endpoint.as_ref())?;
    }
    match &endpoint {
        Some(endpoint) => deliver(packet, &work.get().interface, &header, endpoint),
        None => leave(packet, work, &header),
    }
}

/// Lines 17 and 18.
fn leave<H: Ip>(packet: &Packet, work: &mut Handle, header: &H) -> Verdict {
    let work = work.get();
    let (link_local, metadata) = (header.is_to_link_local(), header.is_to_metadata());
    let is_denied = (link_local || metadata) && !interfaces::allows_link_local(&work.interface);
    if is_denied && header.would_be_forwarded(packet, &mut work.query) {
        return Err(if metadata { Reason::Metadata } else { Reason::LinkLocal });
    }
    Ok(Reason::ToHost)
}

/// Lines 21 to 27.
fn deliver<H: Ip>(
    packet: &Packet,
    interface: &Interface,
    header: &H,
    endpoint: &Endpoint,
) -> Verdict {
    let takes_stack = interfaces::takes_stack(interface) || endpoints::takes_stack(endpoint);
    if takes_stack && endpoint.ifindex != packet.ifindex() {
        return Ok(Reason::ToHost);
    }
    if flows::is_answer(packet, header) {
        return Ok(Reason::ToHost);
    }
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
    let station = learned::find(endpoint.ifindex).unwrap_or(endpoint.mac);
    ethernet::readdress(packet, station)?;
    header.take_hop(packet)?;
    Ok(verdict::redirect(endpoint.ifindex))
}

fn foreign_mac(packet: &Packet, frame: &ethernet::Header) -> Reason {
    log::foreign_mac(packet, frame.source, frame.destination);
    Reason::ForeignMac
}
