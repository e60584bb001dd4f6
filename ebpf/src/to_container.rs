//! `to_container`: what the host stack sends to a container, at the egress hook of its host-side
//! veth.
//!
//! The first line that applies decides:
//!
//! | | Packet | Outcome |
//! |---|---|---|
//! | 1 | on an interface without a record | drop, `unknown_interface` |
//! | 2 | to a parked slot | drop, `parked` |
//! | 3 | VLAN-tagged, once or twice | drop, `vlan` |
//! | 4 | ARP | drop, `neighbour_discovery` |
//! | 5 | neither IPv4 nor IPv6 | drop, `unknown_protocol` |
//! | 6 | IP header cut off | drop, `truncated` |
//! | 7 | wrong version or a length that cannot be | drop, `malformed` |
//! | 8 | IPv6 neighbour discovery | drop, `neighbour_discovery` |
//! | 9 | to a multicast or broadcast address, of IP or of Ethernet | drop, `multicast` |
//! | 10 | to an address that is not the slot's | drop, `foreign_destination` |
//! | 11 | from a slot of this node that [`isolation`] of the network of either keeps apart | drop, `isolated` |
//! | 12 | that cannot be rewritten | drop, `unwritable` |
//! | 13 | any other | to the container, `to_container` |
//!
//! Behind 11: where the policies of the slot, or of the slot that sent the packet, are enforced, these may drop
//! it ([`enforce`] has their reasons).
//!
//! The host stack addresses frames to the Ethernet address that the slot was built with. Where the
//! container uses another ([`learned`]), the frame is addressed to that.
//!
//! 11: the slot is the one by whose interface the packet came to the node. Its addresses may be
//! others by now: the host stack translates service addresses, and masquerades.
//!
//! What another slot of this node sent has its flow remembered ([`flows`]).

use aya_ebpf::{macros::classifier, programs::TcContext};
use repoint_common::{counter::Reason, event::TO_CONTAINER};

use crate::{
    enforce,
    ethernet::{self, Protocol},
    flows, interfaces,
    ip::Ip,
    ipv4, ipv6, isolation, learned,
    packet::Packet,
    verdict::{self, Verdict},
    work::{self, Handle, Work},
};

#[classifier]
fn to_container(context: TcContext) -> i32 {
    let packet = Packet::new(context, TO_CONTAINER);
    let (slot, verdict) = match work::begin(packet.ifindex()) {
        Some(mut work) => (work.get().interface.slot, decide(&packet, &mut work)),
        None => (0, Err(Reason::UnknownInterface)),
    };
    verdict::conclude(&packet, slot, verdict)
}

/// Lines 2 to 5.
#[inline(always)]
fn decide(packet: &Packet, work: &mut Handle) -> Verdict {
    interfaces::ensure_active(&work.get().interface)?;
    let frame = ethernet::Header::load(packet)?;
    match frame.protocol(packet)? {
        Protocol::Arp => Err(Reason::NeighbourDiscovery),
        Protocol::Ipv4 => decide_ip::<ipv4::Header>(packet, work, &frame),
        Protocol::Ipv6 => decide_ip::<ipv6::Header>(packet, work, &frame),
    }
}

/// Lines 6 to 14.
#[inline(never)]
fn decide_ip<H: Ip>(packet: &Packet, work: &mut Handle, frame: &ethernet::Header) -> Verdict {
    let header = H::load(packet)?;
    if header.is_to_group() || frame.is_to_group() {
        return Err(Reason::Multicast);
    }
    let Work { interface, sender, .. } = work.get();
    if !interfaces::owns::<H>(interface, packet.ifindex(), header.destination()) {
        return Err(Reason::ForeignDestination);
    }
    // The slot of this node that sent the packet, or else the node made it, or it came by another interface.
    let from = packet.came_by();
    let by_slot = from != 0 && interfaces::copy(from, sender);
    if by_slot && isolation::is_between((&*sender).into(), (&*interface).into()) {
        return Err(Reason::Isolated);
    }
    if interfaces::has_policies(interface) || by_slot && interfaces::has_policies(sender) {
        enforce::check_received(packet, &header, work, by_slot)?;
    }
    if let Some(station) = learned::find(packet.ifindex())
        && station != frame.destination
    {
        ethernet::correct_destination(packet, station)?;
    }
    if by_slot {
        flows::remember(packet, &header);
    }
    Ok(Reason::ToContainer)
}
