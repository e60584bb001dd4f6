//! What distinguishes flows in what IP carries: ports of TCP, UDP and SCTP, identifiers of ICMP echo
//! messages.

use crate::{ip::Ip, packet::Packet};

/// Protocols of IP.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// Types of ICMP messages that hold the packet that they are about (RFC 792): destination unreachable,
/// source quench, time exceeded, parameter problem.
pub const ICMP_ERRORS: [u8; 4] = [3, 4, 11, 12];
/// Those of `ICMPv6` are the types below (RFC 4443, section 2.1).
pub const ICMPV6_INFORMATIONAL: u8 = 128;
/// Types of echo messages, request and reply.
pub const ICMP_ECHO: [u8; 2] = [8, 0];
pub const ICMPV6_ECHO: [u8; 2] = [128, 129];
/// Bytes of an ICMP header, which an error's packet follows; and where the identifier is in it.
pub const ICMP_LENGTH: u32 = 8;
pub const ICMP_IDENTIFIER: u32 = 4;
/// Offset of the flags in a TCP header, in bytes.
pub const TCP_FLAGS: u32 = 13;

/// Where the payload of an unfragmented IP packet begins.
#[derive(Clone, Copy)]
pub struct Payload {
    /// Its protocol.
    pub protocol: u8,
    /// Offset in the packet, in bytes.
    pub offset: u32,
}

/// What distinguishes flows between the same two addresses, as the receiver of the first packet sees
/// it.
#[derive(Clone, Copy)]
pub struct Ports {
    /// Protocol of IP.
    pub protocol: u8,
    /// The receiver's port, in network byte order.
    pub own: [u8; 2],
    /// The sender's.
    pub peer: [u8; 2],
}

impl Ports {
    /// Ports of packets without any: fragments, and packets with extension headers.
    pub const NONE: Self = Self { protocol: 0, own: [0; 2], peer: [0; 2] };

    const fn swapped(self) -> Self {
        Self { own: self.peer, peer: self.own, ..self }
    }
}

/// Ports of a packet to a slot.
pub fn ports<H: Ip>(packet: &Packet, header: &H) -> Ports {
    header.payload(packet).map_or(Ports::NONE, |payload| read(packet, payload))
}

/// Ports of the packet that this packet of the slot answers. An answer has the ports the other way round,
/// or is an ICMP error about that packet.
pub fn ports_of_answer<H: Ip>(packet: &Packet, header: &H) -> Ports {
    let Some(payload) = header.payload(packet) else { return Ports::NONE };
    if !is_error(packet, payload) {
        return read(packet, payload).swapped();
    }
    H::payload_at(packet, payload.offset + ICMP_LENGTH)
        .map_or(Ports::NONE, |about| read(packet, about))
}

/// Ports of a packet, of its sender and receiver: for an echo message of either kind both are the
/// identifier.
fn read(packet: &Packet, Payload { protocol, offset }: Payload) -> Ports {
    let found = match protocol {
        TCP | UDP | SCTP => packet.load::<[[u8; 2]; 2]>(offset).ok(),
        ICMP => identifier(packet, offset, ICMP_ECHO),
        ICMPV6 => identifier(packet, offset, ICMPV6_ECHO),
        _ => None,
    };
    let Some([peer, own]) = found else { return Ports::NONE };
    Ports { protocol, own, peer }
}

/// What an event shows of a payload.
pub struct Shown {
    /// Source port, or type of ICMP.
    pub source: u16,
    /// Destination port, or code of ICMP.
    pub destination: u16,
    /// Flags of TCP.
    pub tcp_flags: u8,
}

/// What an event shows of a payload, if that has ports or a type and they are not cut off.
pub fn shown(packet: &Packet, Payload { protocol, offset }: Payload) -> Option<Shown> {
    let mut shown = Shown { source: 0, destination: 0, tcp_flags: 0 };
    match protocol {
        TCP | UDP | SCTP => {
            let [source, destination]: [[u8; 2]; 2] = packet.load(offset).ok()?;
            shown.source = u16::from_be_bytes(source);
            shown.destination = u16::from_be_bytes(destination);
        }
        ICMP | ICMPV6 => {
            let [kind, code]: [u8; 2] = packet.load(offset).ok()?;
            shown.source = u16::from(kind);
            shown.destination = u16::from(code);
        }
        _ => return None,
    }
    if protocol == TCP {
        shown.tcp_flags = packet.load(offset + TCP_FLAGS).ok()?;
    }
    Some(shown)
}

fn identifier(packet: &Packet, offset: u32, echo: [u8; 2]) -> Option<[[u8; 2]; 2]> {
    let kind: u8 = packet.load(offset).ok()?;
    if kind != echo[0] && kind != echo[1] {
        return None;
    }
    let identifier: [u8; 2] = packet.load(offset + ICMP_IDENTIFIER).ok()?;
    Some([identifier; 2])
}

fn is_error(packet: &Packet, payload: Payload) -> bool {
    let Ok(kind) = packet.load::<u8>(payload.offset) else { return false };
    match payload.protocol {
        ICMP => ICMP_ERRORS.contains(&kind),
        ICMPV6 => kind < ICMPV6_INFORMATIONAL,
        _ => false,
    }
}
