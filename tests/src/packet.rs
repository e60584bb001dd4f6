//! Packets, byte by byte. Everything that is not set is right.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An Ethernet address, in transmission order.
pub type Mac = [u8; 6];

/// Length of an Ethernet header, in bytes.
pub const ETHERNET: usize = 14;
/// Length of an IPv4 header without options, in bytes.
pub const IPV4: usize = 20;
/// Length of the fixed IPv6 header, in bytes.
pub const IPV6: usize = 40;

/// `ETH_P_IP` of `linux/if_ether.h`.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `ETH_P_ARP`.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// `ETH_P_8021Q`.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// `ETH_P_IPV6`.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `ETH_P_8021AD`.
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// `IPPROTO_HOPOPTS` of `linux/in6.h`.
pub const HOP_BY_HOP: u8 = 0;
/// `IPPROTO_UDP` of `linux/in.h`.
pub const UDP: u8 = 17;
/// `IPPROTO_ROUTING`.
pub const ROUTING: u8 = 43;
/// `IPPROTO_FRAGMENT`.
pub const FRAGMENT: u8 = 44;
/// `IPPROTO_ICMPV6`.
pub const ICMPV6: u8 = 58;
/// `IPPROTO_DSTOPTS`.
pub const DESTINATION_OPTIONS: u8 = 60;

/// A frame around a payload.
#[must_use]
pub fn frame(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let ethertype = ethertype.to_be_bytes();
    [&destination[..], &source, &ethertype, payload].concat()
}

/// An IPv4 packet.
#[derive(Debug, Clone)]
pub struct Ipv4 {
    /// Where it claims to come from.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
    /// Hops left.
    pub time_to_live: u8,
    /// Protocol of what follows the header.
    pub protocol: u8,
    /// Flags and offset, as in the header.
    pub fragment: u16,
    /// A multiple of 4 bytes.
    pub options: Vec<u8>,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Ipv4 {
    /// A UDP datagram.
    #[must_use]
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            source,
            destination,
            time_to_live: 64,
            protocol: UDP,
            fragment: 0,
            options: Vec::new(),
            payload: udp(),
        }
    }

    /// Header and payload, lengths and the header's checksum right.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let header = IPV4 + self.options.len();
        let total = u16::try_from(header + self.payload.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![0x40 | u8::try_from(header / 4).unwrap_or(15), 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.time_to_live, self.protocol, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(&self.options);
        let checksum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// An IPv6 packet.
#[derive(Debug, Clone)]
pub struct Ipv6 {
    /// Where it claims to come from.
    pub source: Ipv6Addr,
    /// Where it goes.
    pub destination: Ipv6Addr,
    /// Hops left.
    pub hop_limit: u8,
    /// Protocol of what follows the header.
    pub next_header: u8,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Ipv6 {
    /// A UDP datagram.
    #[must_use]
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self { source, destination, hop_limit: 64, next_header: UDP, payload: udp() }
    }

    /// With another payload.
    #[must_use]
    pub fn carrying(self, next_header: u8, payload: &[u8]) -> Self {
        Self { next_header, payload: payload.to_vec(), ..self }
    }

    /// With an extension header before the payload: its content behind the first two bytes, whose
    /// length is 6 and multiples of 8.
    #[must_use]
    pub fn behind(self, extension: u8, content: &[u8]) -> Self {
        let length = u8::try_from((content.len() + 2) / 8 - 1).unwrap_or(u8::MAX);
        let payload = [&[self.next_header, length], content, &self.payload].concat();
        self.carrying(extension, &payload)
    }

    /// Header and payload, lengths and the header's checksum right.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.payload.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([self.next_header, self.hop_limit]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(&self.payload);
        bytes
    }
}

/// An `ICMPv6` message of a type, its content zero.
#[must_use]
pub fn icmpv6(kind: u8) -> Vec<u8> {
    [&[kind], &[0; 23][..]].concat()
}

/// A packet behind a tag of VLAN 5.
#[must_use]
pub fn tagged(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let (addresses, rest) = packet.split_at(12);
    [addresses, &ethertype.to_be_bytes(), &[0, 5], rest].concat()
}

/// A UDP datagram of 16 bytes.
fn udp() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [40_000_u16, 53, 16, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(b"repoint!");
    bytes
}

/// The internet checksum (RFC 1071), summed up anew.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let [.., high, low] = ((folded & 0xffff) + (folded >> 16)).to_be_bytes();
    !u16::from_be_bytes([high, low])
}

/// The packet as a router sends it on: other MACs, one hop less, the IPv4 checksum summed up anew.
#[must_use]
pub fn routed(packet: &[u8], destination: Mac, source: Mac) -> Vec<u8> {
    let mut out = packet.to_vec();
    out[..6].copy_from_slice(&destination);
    out[6..12].copy_from_slice(&source);
    if out[ETHERNET] >> 4 == 6 {
        out[ETHERNET + 7] -= 1;
        return out;
    }
    let header = ETHERNET..ETHERNET + usize::from(out[ETHERNET] & 0x0f) * 4;
    out[ETHERNET + 8] -= 1;
    out[ETHERNET + 10..ETHERNET + 12].fill(0);
    let checksum = checksum(&out[header]);
    out[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());
    out
}
