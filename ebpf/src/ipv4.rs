//! IPv4, RFC 791.

use core::mem::offset_of;

use aya_ebpf::bindings::BPF_F_RECOMPUTE_CSUM;
use repoint_common::{
    GATEWAY_V4,
    counter::Reason,
    endpoint::{AddressV4, AddressV6, Endpoint},
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

/// The fixed part of the header.
#[repr(C)]
pub struct Header {
    version_and_length: u8,
    type_of_service: u8,
    total_length: [u8; 2],
    identification: [u8; 2],
    fragment: [u8; 2],
    hops: Hops,
    source: AddressV4,
    destination: AddressV4,
}

/// The word that changes at every hop.
#[repr(C)]
#[derive(Clone, Copy)]
struct Hops {
    time_to_live: u8,
    protocol: u8,
    checksum: [u8; 2],
}

/// Length of [`Header`], in bytes.
const LENGTH: u32 = 20;
/// Offset of [`Hops`] in it, in bytes.
const HOPS: u32 = 8;
/// Offset of the source address in it, in bytes; the destination follows.
const ADDRESSES: u32 = 12;
/// Version 4, and a header of 20 bytes.
const NO_OPTIONS: u8 = 0x45;
/// Length of the longest header, in bytes.
const MAX_LENGTH: u32 = 60;
/// In the field of the fragment's offset: bit "more fragments" in the first octet, and the offset in both.
const MORE_FRAGMENTS: u8 = 0x20;
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Options (RFC 791, section 3.1).
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;
/// Protocol: ICMP.
const ICMP: u8 = 1;
/// Types of echo messages (RFC 792).
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// First octet of loopback addresses, 127.0.0.0/8 (RFC 1122, section 3.2.1.3).
const LOOPBACK: u8 = 127;
/// First octets of link-local addresses, 169.254.0.0/16 (RFC 3927).
const LINK_LOCAL: [u8; 2] = [169, 254];
/// Alibaba Cloud's metadata service.
const METADATA: [u8; 4] = [100, 100, 100, 200];

const _: () = {
    assert!(size_of::<Header>() == LENGTH as usize);
    assert!(offset_of!(Header, hops) == HOPS as usize);
    assert!(offset_of!(Header, source) == ADDRESSES as usize);
};

impl Header {
    /// Checks version and lengths.
    fn check(&self, packet: &Packet) -> Result<(), Reason> {
        let length = u32::from(self.version_and_length & 0x0f) * 4;
        if self.version_and_length >> 4 != 4 || length < LENGTH {
            return Err(Reason::Malformed);
        }
        let available = packet.len() - ip::OFFSET;
        if available < length {
            return Err(Reason::Truncated);
        }
        let total = u32::from(u16::from_be_bytes(self.total_length));
        // BIG TCP (kernel 6.3): the field is 0 in a super-packet whose length exceeds it.
        let unreported = total == 0 && packet.is_super_packet();
        if !unreported && (total < length || total > available) {
            return Err(Reason::Malformed);
        }
        Ok(())
    }

    /// Whether this is a fragment, the first or a later one: bits other than "don't fragment" are set.
    const fn is_fragment(&self) -> bool {
        self.fragment[0] & 0xbf != 0 || self.fragment[1] != 0
    }

    fn is_to_gateway(&self) -> bool {
        self.destination.octets == GATEWAY_V4
    }
}

/// Fails when options say which way the packet takes, or contradict themselves. The header is `length` bytes
/// long.
///
/// The verifier follows a loop for each value that it can tell. So the place begins as one that it cannot tell, no
/// index of an interface being negative, and the mask makes all places look alike.
fn refuse_source_route(packet: &Packet, length: u32) -> Result<(), Reason> {
    let mut at = LENGTH + (packet.ifindex() >> 31);
    for _ in LENGTH..MAX_LENGTH {
        if at >= length {
            break;
        }
        let [kind, size]: [u8; 2] = packet.load(ip::OFFSET + at)?;
        if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
            return Err(Reason::SourceRoute);
        }
        if kind == END_OF_OPTIONS {
            break;
        }
        let size = if kind == NO_OPERATION { 1 } else { u32::from(size) };
        if size == 0 {
            return Err(Reason::Malformed);
        }
        at = (at + size) & 0x1ff;
    }
    Ok(())
}

impl Hops {
    /// One hop less. The checksum gains what the sum of the header loses (RFC 1624), with the carry
    /// of one's complement.
    fn less_one(self) -> Self {
        let (sum, carry) = u16::from_be_bytes(self.checksum).overflowing_add(0x0100);
        Self {
            time_to_live: self.time_to_live - 1,
            checksum: (sum + u16::from(carry)).to_be_bytes(),
            ..self
        }
    }
}

impl Ip for Header {
    type Address = AddressV4;

    const UNSPECIFIED: AddressV4 = AddressV4 { octets: [0; 4] };

    const ICMP: u8 = ICMP;

    fn fragments_of(protocol: u8) -> u8 {
        protocol
    }

    fn may_be_tcp(protocol: u8) -> bool {
        protocol == segment::TCP
    }

    fn load(packet: &Packet) -> Result<Self, Reason> {
        let header: Self = packet.load(ip::OFFSET)?;
        header.check(packet)?;
        Ok(header)
    }

    fn source(&self) -> AddressV4 {
        self.source
    }

    fn destination(&self) -> AddressV4 {
        self.destination
    }

    fn is_to_group(&self) -> bool {
        self.destination.octets[0] & 0xf0 == 0xe0 || self.destination.octets == [0xff; 4]
    }

    fn is_to_martian(&self) -> bool {
        let AddressV4 { octets } = self.destination;
        octets[0] == LOOPBACK || octets == [0; 4] || octets == GATEWAY_V4
    }

    fn is_from_link_to_gateway(&self) -> bool {
        let [first, second, ..] = self.source.octets;
        [first, second] == LINK_LOCAL && self.is_to_gateway() && self.source != self.destination
    }

    fn answer_echo(&self, packet: &Packet, frame: &ethernet::Header) -> Verdict {
        let offset = ip::OFFSET + LENGTH;
        let is_whole = self.version_and_length == NO_OPTIONS && !self.is_fragment();
        let is_icmp = self.is_to_gateway() && is_whole && self.hops.protocol == ICMP;
        if !is_icmp || !echo::is_request::<ECHO_REQUEST>(packet, offset)? {
            return Err(Reason::Martian);
        }
        // The header's checksum stays right, and so does what is left of its hops: one is enough.
        let addresses = [self.destination, self.source];
        packet.store(ip::OFFSET + ADDRESSES, &addresses, BPF_F_RECOMPUTE_CSUM)?;
        echo::answer::<ECHO_REQUEST, ECHO_REPLY>(packet, frame, offset)
    }

    fn is_to_link_local(&self) -> bool {
        let [first, second, ..] = self.destination.octets;
        [first, second] == LINK_LOCAL
    }

    fn is_to_metadata(&self) -> bool {
        self.destination.octets == METADATA
    }

    fn would_be_forwarded(&self, packet: &Packet, query: &mut Query) -> bool {
        let whole = |address: AddressV4| [u32::from_ne_bytes(address.octets), 0, 0, 0];
        query.ask(fib::IPV4, whole(self.source), whole(self.destination));
        fib::forwards(packet.raw().cast(), query)
    }

    fn protocol(&self) -> u8 {
        self.hops.protocol
    }

    fn hops_left(&self) -> u8 {
        self.hops.time_to_live
    }

    fn take_hop(&self, packet: &Packet) -> Result<(), Reason> {
        packet.store(ip::OFFSET + HOPS, &self.hops.less_one(), BPF_F_RECOMPUTE_CSUM)
    }

    fn payload_behind(&self, _: &Packet, offset: u32) -> Option<Payload> {
        let offset = offset + u32::from(self.version_and_length & 0x0f) * 4;
        let payload = Payload { protocol: self.hops.protocol, offset };
        if self.is_fragment() { None } else { Some(payload) }
    }

    fn prepare(packet: &Packet) -> Answer {
        // SAFETY: the context is the program's.
        Answer::new(unsafe { enforce::prepare_v4(packet.raw().cast()) })
    }

    fn upper(&self, packet: &Packet) -> Result<Upper, Reason> {
        let length = u32::from(self.version_and_length & 0x0f) * 4;
        if length > LENGTH {
            refuse_source_route(packet, length)?;
        }
        let place = u16::from_be_bytes(self.fragment) & FRAGMENT_OFFSET;
        let piece = match (place, self.fragment[0] & MORE_FRAGMENTS) {
            (0, 0) => Piece::WHOLE,
            (0, _) => Piece::FIRST,
            _ => Piece::LATER,
        };
        let [high, low] = self.identification;
        let (offset, protocol) = (ip::OFFSET + length, self.hops.protocol);
        Ok(Upper { offset, protocol, piece, identification: [0, 0, high, low], place })
    }

    fn mapped(AddressV4 { octets: [a, b, c, d] }: AddressV4) -> [u8; 16] {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
    }

    fn aligned(AddressV4 { octets: [a, b, c, d] }: AddressV4) -> AddressV6 {
        let last = u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d]);
        // Little-endian: the first octets are the lower half.
        AddressV6 { octets: (u128::from(last) << 64).to_le_bytes() }
    }

    fn endpoint(address: AddressV4) -> Option<Endpoint> {
        endpoints::find_v4(address)
    }

    fn first_address(interface: &Interface) -> AddressV4 {
        AddressV4 { octets: interface.ipv4 }
    }

    fn warn_of_source(&self, packet: &Packet) {
        log::foreign_ipv4(packet, self.source.octets);
    }
}
