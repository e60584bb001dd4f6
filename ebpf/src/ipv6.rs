//! IPv6, RFC 8200.

use core::{mem::offset_of, ops::RangeInclusive};

use aya_ebpf::bindings::BPF_F_RECOMPUTE_CSUM;
use repoint_common::{
    GATEWAY_V6,
    counter::Reason,
    endpoint::{AddressV6, Endpoint},
    interface::Interface,
};

use crate::{
    echo, endpoints, enforce, ethernet,
    fib::{self, Query},
    ip::{self, Ip},
    judge::Answer,
    log,
    packet::Packet,
    segment::{self, Piece, Upper},
    transport::Payload,
    verdict::Verdict,
};

/// Next header: hop-by-hop options.
const HOP_BY_HOP: u8 = 0;
/// Next header: routing.
const ROUTING: u8 = 43;
/// Next header: fragment.
const FRAGMENT: u8 = 44;
/// Next header: authentication (RFC 4302).
const AUTHENTICATION: u8 = 51;
/// Next header: destination options.
const DESTINATION_OPTIONS: u8 = 60;
/// Most extension headers that a packet may have where policies are enforced.
const MAX_EXTENSIONS: u32 = 8;
/// Next header: `ICMPv6`.
pub const ICMPV6: u8 = 58;
/// Types of echo messages (RFC 4443).
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
/// Types of neighbour discovery (RFC 4861): router solicitation to redirect.
const NEIGHBOUR_DISCOVERY: RangeInclusive<u8> = 133..=137;

/// Metadata services of AWS, `fd00:ec2::254`, Google Cloud, `fd20:ce::254`, Oracle Cloud,
/// `fd00:c1::a9fe:a9fe`, and Scaleway, `fd00:42::42`.
const METADATA: [[u8; 16]; 4] = [
    [0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54],
    [0xfd, 0x20, 0x00, 0xce, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54],
    [0xfd, 0x00, 0x00, 0xc1, 0, 0, 0, 0, 0, 0, 0, 0, 0xa9, 0xfe, 0xa9, 0xfe],
    [0xfd, 0x00, 0x00, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x42],
];

/// The fixed header.
#[repr(C)]
#[expect(clippy::struct_field_names, reason = "RFC 8200's name")]
pub struct Header {
    version_and_flow: [u8; 4],
    payload_length: [u8; 2],
    next_header: u8,
    hop_limit: u8,
    source: AddressV6,
    destination: AddressV6,
}

/// What every hop-by-hop header begins with.
#[repr(C)]
struct HopByHop {
    next_header: u8,
    /// In 8 bytes, the first 8 not counted.
    length: u8,
}

/// The fragment header.
#[repr(C)]
struct FragmentHeader {
    next_header: u8,
    reserved: u8,
    /// Offset in the payload, in units of 8 bytes, times 8; and 1: more fragments follow.
    place: [u8; 2],
    identification: [u8; 4],
}

/// Length of [`Header`], in bytes.
pub const LENGTH: u32 = 40;
/// Offset of the source address in it, in bytes; the destination follows.
const ADDRESSES: u32 = 8;
/// Offset of the hop limit in it, in bytes.
const HOP_LIMIT: u32 = 7;

const _: () = {
    assert!(size_of::<Header>() == LENGTH as usize);
    assert!(offset_of!(Header, hop_limit) == HOP_LIMIT as usize);
    assert!(offset_of!(Header, source) == ADDRESSES as usize);
};

impl Header {
    /// The header of an `ICMPv6` message of `length` bytes from the gateway.
    pub const fn from_gateway(destination: AddressV6, length: u16, hop_limit: u8) -> Self {
        Self {
            version_and_flow: [0x60, 0, 0, 0],
            payload_length: length.to_be_bytes(),
            next_header: ICMPV6,
            hop_limit,
            source: AddressV6 { octets: GATEWAY_V6 },
            destination,
        }
    }

    /// Whether an `ICMPv6` message of at least `length` bytes follows at once.
    pub const fn carries_icmp(&self, length: u16) -> bool {
        self.next_header == ICMPV6 && u16::from_be_bytes(self.payload_length) >= length
    }

    /// Checks version and length. A payload length of 0 is right for a jumbogram, for BIG TCP
    /// (kernel 5.19) and for no payload.
    fn check(&self, packet: &Packet) -> Result<(), Reason> {
        let available = packet.len() - ip::OFFSET - LENGTH;
        let reported = u32::from(u16::from_be_bytes(self.payload_length));
        if self.version_and_flow[0] >> 4 != 6 || reported > available {
            return Err(Reason::Malformed);
        }
        Ok(())
    }

    /// Fails when this is neighbour discovery.
    ///
    /// `ICMPv6` is looked for behind the header and behind hop-by-hop options. Behind any other
    /// extension header the packet is judged by its addresses: its hop limit, 255 when it was sent,
    /// is 254 when another container gets it, which must then ignore it (RFC 4861, section 7.1).
    fn refuse_neighbour_discovery(&self, packet: &Packet) -> Result<(), Reason> {
        let payload = ip::OFFSET + LENGTH;
        match self.next_header {
            ICMPV6 => refuse_type(packet, payload),
            HOP_BY_HOP => {
                let options: HopByHop = packet.load(payload)?;
                let behind = payload + 8 + u32::from(options.length) * 8;
                if packet.len() < behind {
                    return Err(Reason::Truncated);
                }
                if options.next_header == ICMPV6 { refuse_type(packet, behind) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

/// An address as numbers, the most significant first.
fn words(address: AddressV6) -> [u32; 4] {
    let (words, _) = address.octets.as_chunks::<4>();
    [0, 1, 2, 3].map(|at| u32::from_be_bytes(words[at]))
}

/// Sum of an address's 16-bit numbers.
pub fn sum(address: AddressV6) -> u32 {
    let halves = words(address).map(|word| (word >> 16) + (word & 0xffff));
    halves[0] + halves[1] + halves[2] + halves[3]
}

/// Whether an address is link-local (RFC 4291, section 2.5.6).
fn is_link_local(address: AddressV6) -> bool {
    // fe80::/10.
    let [first, second, ..] = address.octets;
    first == 0xfe && second & 0xc0 == 0x80
}

/// Fails when the `ICMPv6` message at `offset` is one of neighbour discovery.
fn refuse_type(packet: &Packet, offset: u32) -> Result<(), Reason> {
    if NEIGHBOUR_DISCOVERY.contains(&packet.load(offset)?) {
        return Err(Reason::NeighbourDiscovery);
    }
    Ok(())
}

impl Ip for Header {
    type Address = AddressV6;

    const UNSPECIFIED: AddressV6 = AddressV6 { octets: [0; 16] };

    const ICMP: u8 = ICMPV6;

    fn fragments_of(_: u8) -> u8 {
        0
    }

    fn may_be_tcp(protocol: u8) -> bool {
        // Extension headers may stand in the first fragment alone.
        matches!(protocol, segment::TCP | HOP_BY_HOP | DESTINATION_OPTIONS | AUTHENTICATION)
    }

    fn load(packet: &Packet) -> Result<Self, Reason> {
        let header: Self = packet.load(ip::OFFSET)?;
        header.check(packet)?;
        header.refuse_neighbour_discovery(packet)?;
        Ok(header)
    }

    fn source(&self) -> AddressV6 {
        self.source
    }

    fn destination(&self) -> AddressV6 {
        self.destination
    }

    fn is_to_group(&self) -> bool {
        self.destination.octets[0] == 0xff
    }

    fn is_to_martian(&self) -> bool {
        let [high, middle, mapped, low] = words(self.destination);
        let is_special = match mapped {
            // ::1, and the unspecified address.
            0 => low <= 1,
            // IPv4-mapped: ::ffff:0:0/96 (RFC 4291, section 2.5.5.2).
            word => word == 0xffff,
        };
        high == 0 && middle == 0 && is_special || self.destination.octets == GATEWAY_V6
    }

    fn is_from_link_to_gateway(&self) -> bool {
        let is_to_gateway = self.destination.octets == GATEWAY_V6;
        is_to_gateway && is_link_local(self.source) && self.source != self.destination
    }

    fn answer_echo(&self, packet: &Packet, frame: &ethernet::Header) -> Verdict {
        let offset = ip::OFFSET + LENGTH;
        let is_icmp = self.destination.octets == GATEWAY_V6 && self.next_header == ICMPV6;
        if !is_icmp || !echo::is_request::<ECHO_REQUEST>(packet, offset)? {
            return Err(Reason::Martian);
        }
        let addresses = [self.destination, self.source];
        packet.store(ip::OFFSET + ADDRESSES, &addresses, BPF_F_RECOMPUTE_CSUM)?;
        echo::answer::<ECHO_REQUEST, ECHO_REPLY>(packet, frame, offset)
    }

    fn is_to_link_local(&self) -> bool {
        is_link_local(self.destination)
    }

    fn is_to_metadata(&self) -> bool {
        self.destination.octets[0] == 0xfd && METADATA.contains(&self.destination.octets)
    }

    fn would_be_forwarded(&self, packet: &Packet, query: &mut Query) -> bool {
        let whole = |address| words(address).map(u32::to_be);
        query.ask(fib::IPV6, whole(self.source), whole(self.destination));
        fib::forwards(packet.raw().cast(), query)
    }

    fn protocol(&self) -> u8 {
        self.next_header
    }

    fn hops_left(&self) -> u8 {
        self.hop_limit
    }

    fn take_hop(&self, packet: &Packet) -> Result<(), Reason> {
        // No checksum of its own, but the kernel's sum over a received packet covers it.
        packet.store(ip::OFFSET + HOP_LIMIT, &(self.hop_limit - 1), BPF_F_RECOMPUTE_CSUM)
    }

    fn payload_behind(&self, _: &Packet, offset: u32) -> Option<Payload> {
        Some(Payload { protocol: self.next_header, offset: offset + LENGTH })
    }

    fn prepare(packet: &Packet) -> Answer {
        // SAFETY: the context is the program's.
        Answer::new(unsafe { enforce::prepare_v6(packet.raw().cast()) })
    }

    fn upper(&self, packet: &Packet) -> Result<Upper, Reason> {
        let mut upper = Upper {
            offset: ip::OFFSET + LENGTH,
            protocol: self.next_header,
            piece: Piece::WHOLE,
            identification: [0; 4],
            place: 0,
        };
        for _ in 0..=MAX_EXTENSIONS {
            match upper.protocol {
                ROUTING => return Err(Reason::SourceRoute),
                HOP_BY_HOP | DESTINATION_OPTIONS | AUTHENTICATION => {
                    let header: HopByHop = packet.load(upper.offset)?;
                    let length = u32::from(header.length);
                    let is_authentication = upper.protocol == AUTHENTICATION;
                    upper.offset +=
                        if is_authentication { (length + 2) * 4 } else { (length + 1) * 8 };
                    upper.protocol = header.next_header;
                }
                FRAGMENT => {
                    let header: FragmentHeader = packet.load(upper.offset)?;
                    let place = u16::from_be_bytes(header.place);
                    upper.offset += 8;
                    upper.protocol = header.next_header;
                    upper.identification = header.identification;
                    upper.place = place >> 3;
                    if upper.place != 0 {
                        upper.piece = Piece::LATER;
                        return Ok(upper);
                    }
                    if place & 1 != 0 {
                        upper.piece = Piece::FIRST;
                    }
                }
                _ => return Ok(upper),
            }
        }
        Err(Reason::Malformed)
    }

    fn mapped(address: AddressV6) -> [u8; 16] {
        address.octets
    }

    fn aligned(address: AddressV6) -> AddressV6 {
        address
    }

    fn endpoint(address: AddressV6) -> Option<Endpoint> {
        endpoints::find_v6(address)
    }

    fn first_address(interface: &Interface) -> AddressV6 {
        AddressV6 { octets: interface.ipv6 }
    }

    fn warn_of_source(&self, packet: &Packet) {
        log::foreign_ipv6(packet, self.source.octets);
    }
}
