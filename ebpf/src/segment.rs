//! What policies see of a packet's payload: protocol, ports, flags. Of fragments as well.

use aya_ebpf::{bindings::BPF_ANY, btf_maps::LruHashMap, macros::btf_map};
use repoint_common::{
    conntrack::{Fragment, FragmentKey, MAX_FRAGMENTS, TIMEOUT_FRAGMENT},
    counter::Reason,
};

use crate::{
    budgets, conntrack::SECOND, ip::Ip, judge::coarse_now, packet::Packet, transport, work::Work,
};

#[btf_map(name = "fragments")]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment, MAX_FRAGMENTS> = LruHashMap::new();

/// Protocols of IP.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// Flags of TCP.
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// Types of ICMP errors that say that a packet was too large (RFC 792, with code 4; RFC 4443).
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const PACKET_TOO_BIG: u8 = 2;

/// Offset of a TCP header's length in it, in bytes; the flags follow.
const TCP_LENGTH: u32 = transport::TCP_FLAGS - 1;

/// Bytes behind the first fragment's begin at which flags of TCP could be overwritten, in units of 8
/// (RFC 1858).
const OVERLAPS_FLAGS: u16 = 1;

/// How much a packet shows. No enum: the compiler would tell results with one apart by a byte inside them,
/// and the kernel refuses the type information of that.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Shape(u8);

impl Shape {
    /// It belongs to a flow.
    pub const FLOW: Self = Self(0);
    /// It belongs to no flow: ICMP that is neither an error nor an echo message.
    pub const SINGLE: Self = Self(1);
    /// It is an ICMP error, about a packet of a flow.
    pub const ERROR: Self = Self(2);
    /// An ICMP error that says that a packet was too large.
    pub const TOO_LARGE: Self = Self(3);
    /// A fragment without its first: its ports are not known.
    pub const BLIND: Self = Self(4);
}

/// What policies see of a payload.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Segment {
    /// Source port, network byte order; the identifier of ICMP echo; 0 without either.
    pub source_port: [u8; 2],
    /// Destination port, likewise.
    pub destination_port: [u8; 2],
    /// Protocol of IP.
    pub protocol: u8,
    /// Type of ICMP.
    pub icmp_type: u8,
    /// Flags of TCP.
    pub tcp_flags: u8,
    /// Whether TCP carries data.
    pub has_data: bool,
    pub shape: Shape,
}

/// Where extension headers of IP end, and what of a packet is there.
pub struct Upper {
    /// Offset of the payload, in bytes.
    pub offset: u32,
    /// Its protocol.
    pub protocol: u8,
    pub piece: Piece,
    /// Identification of the fragment; IPv4's two octets are the last.
    pub identification: [u8; 4],
    /// Where the fragment is in the payload, in units of 8 bytes.
    pub place: u16,
}

/// Which part of a packet. No enum, as [`Shape`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Piece(u8);

impl Piece {
    pub const WHOLE: Self = Self(0);
    pub const FIRST: Self = Self(1);
    pub const LATER: Self = Self(2);
}

impl Upper {
    /// The payload of an unfragmented packet without extension headers.
    pub const fn whole(transport::Payload { protocol, offset }: transport::Payload) -> Self {
        Self { offset, protocol, piece: Piece::WHOLE, identification: [0; 4], place: 0 }
    }
}

impl Segment {
    /// A payload of which only the protocol is known.
    pub const fn without_ports(protocol: u8, shape: Shape) -> Self {
        let (source_port, destination_port) = ([0; 2], [0; 2]);
        let (icmp_type, tcp_flags, has_data) = (0, 0, false);
        Self { source_port, destination_port, protocol, icmp_type, tcp_flags, has_data, shape }
    }

    /// Writes what a packet shows, of a fragment with what the first one showed.
    #[inline(always)]
    pub fn fill<H: Ip>(
        packet: &Packet,
        header: &H,
        upper: &Upper,
        work: &mut Work,
    ) -> Result<(), Reason> {
        work.piece = upper.piece;
        if upper.piece == Piece::WHOLE {
            work.subject.segment = Self::read::<H>(packet, upper)?;
            return Ok(());
        }
        let key = &mut work.fragment_key;
        key.source = H::aligned(header.source());
        key.destination = H::aligned(header.destination());
        key.identification = upper.identification;
        key.protocol = H::fragments_of(upper.protocol);
        key.padding = [0; 3];
        if upper.piece == Piece::FIRST {
            // Where not even the ports are in it, it was made so on purpose.
            let read = Self::read::<H>(packet, upper).map_err(|_| Reason::Fragment)?;
            work.subject.segment = read;
            return Ok(());
        }
        if upper.place == OVERLAPS_FLAGS && H::may_be_tcp(upper.protocol) {
            return Err(Reason::Fragment);
        }
        work.subject.segment = Self::of_later::<H>(&work.fragment_key, upper.protocol);
        Ok(())
    }

    /// What the first fragment of a packet showed.
    #[inline(always)]
    fn of_later<H: Ip>(key: &FragmentKey, protocol: u8) -> Self {
        let mut segment = Self::without_ports(protocol, Shape::BLIND);
        // SAFETY: the element stays in memory.
        if let Some(first) = unsafe { FRAGMENTS.get(key) }
            && coarse_now() < first.seen + TIMEOUT_FRAGMENT * SECOND
        {
            segment.protocol = first.protocol;
            segment.source_port = first.source_port;
            segment.destination_port = first.destination_port;
            segment.icmp_type = first.icmp_type;
            let is_icmp = first.protocol == H::ICMP;
            let is_single = is_icmp && !is_echo(first.protocol, first.icmp_type);
            segment.shape = if is_single { Shape::SINGLE } else { Shape::FLOW };
        }
        segment
    }

    /// What the payload at an offset shows.
    #[inline(always)]
    pub fn read<H: Ip>(packet: &Packet, upper: &Upper) -> Result<Self, Reason> {
        let (protocol, offset) = (upper.protocol, upper.offset);
        let mut segment = Self::without_ports(protocol, Shape::FLOW);
        match protocol {
            TCP | UDP | SCTP => {
                [segment.source_port, segment.destination_port] = packet.load(offset)?;
                if protocol == TCP {
                    let [length, flags]: [u8; 2] = packet.load(offset + TCP_LENGTH)?;
                    segment.tcp_flags = flags;
                    segment.has_data = packet.len() > offset + u32::from(length >> 4) * 4;
                }
            }
            _ if protocol == H::ICMP => {
                let [kind, code]: [u8; 2] = packet.load(offset)?;
                segment.icmp_type = kind;
                segment.shape = shape_of_icmp(protocol, kind, code);
                if segment.shape == Shape::FLOW {
                    let identifier = packet.load(offset + transport::ICMP_IDENTIFIER)?;
                    (segment.source_port, segment.destination_port) = (identifier, identifier);
                }
            }
            _ => {}
        }
        Ok(segment)
    }

    /// Ports, or the identifier of ICMP echo: an ICMP error need not hold more of a packet (RFC 792).
    pub fn read_ports<H: Ip>(packet: &Packet, upper: &Upper) -> Result<Self, Reason> {
        let (protocol, offset) = (upper.protocol, upper.offset);
        let mut segment = Self::without_ports(protocol, Shape::FLOW);
        match protocol {
            TCP | UDP | SCTP => {
                [segment.source_port, segment.destination_port] = packet.load(offset)?;
            }
            _ if protocol == H::ICMP => {
                let kind: u8 = packet.load(offset)?;
                if !is_echo(protocol, kind) {
                    return Err(Reason::Malformed);
                }
                let identifier = packet.load(offset + transport::ICMP_IDENTIFIER)?;
                (segment.source_port, segment.destination_port) = (identifier, identifier);
            }
            _ => {}
        }
        Ok(segment)
    }

    /// Whether the packet may be the last one of a TCP connection: it acknowledges, and nothing else.
    pub const fn is_last_ack(self) -> bool {
        self.tcp_flags & (SYN | FIN | RST | ACK) == ACK && !self.has_data
    }

    /// Whether the packet is an ICMP echo request.
    pub const fn is_echo_request(self) -> bool {
        let request = echo_request(self.protocol);
        request != 0 && self.icmp_type == request
    }

    /// Whether the packet opens a TCP connection.
    pub const fn is_opening(self) -> bool {
        self.tcp_flags & (SYN | ACK) == SYN
    }
}

/// Keeps what the first fragment of `work`'s packet shows, which passed, for the others: as many as the slot may.
#[inline(always)]
pub fn keep(work: &mut Work) {
    let Work { subject, fragment, .. } = work;
    let now = coarse_now();
    if !budgets::spend_fragment(&subject.sender, &subject.receiver, now) {
        return;
    }
    fragment.seen = now;
    fragment.source_port = subject.segment.source_port;
    fragment.destination_port = subject.segment.destination_port;
    fragment.protocol = subject.segment.protocol;
    fragment.icmp_type = subject.segment.icmp_type;
    fragment.padding = [0; 2];
    let (key, fragment) = (&work.fragment_key, &work.fragment);
    // Without an element, the others are dropped where a rule asks for ports.
    let _ = FRAGMENTS.insert(key, fragment, u64::from(BPF_ANY));
}

/// The type of the echo request that opens a flow of ICMP; 0 for other protocols.
pub const fn echo_request(protocol: u8) -> u8 {
    match protocol {
        ICMP => transport::ICMP_ECHO[0],
        ICMPV6 => transport::ICMPV6_ECHO[0],
        _ => 0,
    }
}

fn is_echo(protocol: u8, kind: u8) -> bool {
    let echo = if protocol == ICMP { transport::ICMP_ECHO } else { transport::ICMPV6_ECHO };
    echo.contains(&kind)
}

fn shape_of_icmp(protocol: u8, kind: u8, code: u8) -> Shape {
    if is_echo(protocol, kind) {
        return Shape::FLOW;
    }
    let (is_error, is_too_large) = if protocol == ICMP {
        (
            transport::ICMP_ERRORS.contains(&kind),
            kind == UNREACHABLE && code == FRAGMENTATION_NEEDED,
        )
    } else {
        (kind < transport::ICMPV6_INFORMATIONAL, kind == PACKET_TOO_BIG)
    };
    match (is_error, is_too_large) {
        (_, true) => Shape::TOO_LARGE,
        (true, _) => Shape::ERROR,
        _ => Shape::SINGLE,
    }
}
