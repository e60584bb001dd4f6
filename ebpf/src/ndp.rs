//! Neighbour discovery (RFC 4861): answers for the gateway.

use repoint_common::{
    GATEWAY_V6,
    counter::Reason,
    endpoint::AddressV6,
    interface::Interface,
    mac::{GATEWAY_MAC, Mac},
};

use crate::{
    ethernet, interfaces,
    ip::{self, Ip as _},
    ipv6, learned,
    packet::Packet,
    verdict::{self, Verdict},
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// From a router, solicited, in the place of what was known before.
const FLAGS: u8 = 0xe0;
/// Option: link-layer address of the target; its length, in 8 bytes.
const TARGET_MAC: [u8; 2] = [2, 1];
/// What packets of neighbour discovery have when they did not pass a router.
const HOP_LIMIT: u8 = 255;

/// Solicitation without options.
#[repr(C)]
struct Solicitation {
    kind: u8,
    code: u8,
    checksum: [u8; 2],
    reserved: [u8; 4],
    target: AddressV6,
}

/// Advertisement with its option.
#[repr(C, align(8))]
struct Advertisement {
    kind: u8,
    code: u8,
    checksum: [u8; 2],
    flags: u8,
    reserved: [u8; 3],
    target: AddressV6,
    option: [u8; 2],
    mac: Mac,
}

/// Length of [`Solicitation`], in bytes.
const LENGTH: u16 = 24;
/// Length of [`Advertisement`], in bytes.
const ANSWER: u16 = 32;

const _: () = {
    assert!(size_of::<Solicitation>() == LENGTH as usize);
    assert!(size_of::<Advertisement>() == ANSWER as usize);
};

/// Answers a solicitation for the gateway; learns from all else, and drops it.
///
/// The packet is neighbour discovery with a header that was checked. The sender's address need not be the
/// slot's own, because the answer goes only to this container; a guest asks from its link-local address.
/// A packet from the unspecified address looks for duplicates of an address that its sender wants.
#[inline(never)]
pub fn answer(packet: &Packet, interface: &Interface, frame: &ethernet::Header) -> Verdict {
    let header: ipv6::Header = packet.load(ip::OFFSET)?;
    if interfaces::owns::<ipv6::Header>(interface, packet.ifindex(), header.source()) {
        learned::learn(packet, interface, frame.source);
    }
    if !asks_for_gateway(packet, &header)? {
        return Err(Reason::NeighbourDiscovery);
    }
    let asker = header.source();
    packet.resize(ip::OFFSET + ipv6::LENGTH + u32::from(ANSWER))?;
    ethernet::readdress(packet, frame.source)?;
    packet.store(ip::OFFSET, &ipv6::Header::from_gateway(asker, ANSWER, HOP_LIMIT), 0)?;
    packet.store(ip::OFFSET + ipv6::LENGTH, &advertisement(asker), 0)?;
    verdict::answer(packet)
}

fn asks_for_gateway(packet: &Packet, header: &ipv6::Header) -> Result<bool, Reason> {
    if !header.carries_icmp(LENGTH) || header.hops_left() != HOP_LIMIT {
        return Ok(false);
    }
    let message: Solicitation = packet.load(ip::OFFSET + ipv6::LENGTH)?;
    let is_solicitation = message.kind == SOLICITATION && message.code == 0;
    let asker = header.source();
    let is_station = asker.octets[0] != 0xff && asker != ipv6::Header::UNSPECIFIED;
    let is_gateway = message.target.octets == GATEWAY_V6 && asker.octets != GATEWAY_V6;
    Ok(is_solicitation && is_station && is_gateway)
}

/// The answer, with its checksum.
fn advertisement(asker: AddressV6) -> Advertisement {
    let gateway = AddressV6 { octets: GATEWAY_V6 };
    let mut message = Advertisement {
        kind: ADVERTISEMENT,
        code: 0,
        checksum: [0; 2],
        flags: FLAGS,
        reserved: [0; 3],
        target: gateway,
        option: TARGET_MAC,
        mac: GATEWAY_MAC,
    };
    // All but the asker's address is known here: target and source are the same, and the compiler
    // sums them up.
    let fixed = u32::from(u16::from_be_bytes([ADVERTISEMENT, 0]))
        + u32::from(u16::from_be_bytes([FLAGS, 0]))
        + u32::from(u16::from_be_bytes(TARGET_MAC))
        + u32::from(u16::from_be_bytes([GATEWAY_MAC[0], GATEWAY_MAC[1]]))
        + u32::from(u16::from_be_bytes([GATEWAY_MAC[2], GATEWAY_MAC[3]]))
        + u32::from(u16::from_be_bytes([GATEWAY_MAC[4], GATEWAY_MAC[5]]))
        + u32::from(ANSWER)
        + u32::from(ipv6::ICMPV6);
    let sum = fixed + 2 * ipv6::sum(gateway) + ipv6::sum(asker);
    message.checksum = (!fold(sum)).to_be_bytes();
    message
}

/// A sum of 16-bit numbers in one's complement.
const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let [.., high, low] = ((once & 0xffff) + (once >> 16)).to_be_bytes();
    u16::from_be_bytes([high, low])
}
