//! ARP (RFC 826): answers for the gateway.

use repoint_common::{
    GATEWAY_V4,
    counter::Reason,
    endpoint::AddressV4,
    interface::Interface,
    mac::{GATEWAY_MAC, Mac},
};

use crate::{
    ethernet, interfaces, ipv4, learned,
    packet::Packet,
    verdict::{self, Verdict},
};

/// Ethernet and IPv4, with their addresses' lengths.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// The message.
#[repr(C)]
struct Message {
    kind: [u8; 6],
    operation: [u8; 2],
    sender_mac: Mac,
    sender: [u8; 4],
    target_mac: Mac,
    target: [u8; 4],
}

const _: () = assert!(size_of::<Message>() == 28);

/// Answers a request for the gateway; learns from all else, and drops it.
///
/// The sender's address need not be the slot's own: the answer goes only to this container.
#[inline(never)]
pub fn answer(packet: &Packet, interface: &Interface, frame: &ethernet::Header) -> Verdict {
    let message: Message = packet.load(ethernet::LENGTH)?;
    if message.kind != ETHERNET_IPV4 {
        return Err(Reason::NeighbourDiscovery);
    }
    let sender = AddressV4 { octets: message.sender };
    if interfaces::owns::<ipv4::Header>(interface, packet.ifindex(), sender) {
        learned::learn(packet, interface, frame.source);
    }
    let asks = message.operation == REQUEST && message.target == GATEWAY_V4;
    if !asks || message.sender == GATEWAY_V4 || message.sender == [0; 4] {
        return Err(Reason::NeighbourDiscovery);
    }
    let reply = Message {
        kind: ETHERNET_IPV4,
        operation: REPLY,
        sender_mac: GATEWAY_MAC,
        sender: GATEWAY_V4,
        target_mac: message.sender_mac,
        target: message.sender,
    };
    ethernet::readdress(packet, frame.source)?;
    packet.store(ethernet::LENGTH, &reply, 0)?;
    verdict::answer(packet)
}
