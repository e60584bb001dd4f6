//! What packets carry.

use super::world::{Family, TCP, UDP};

/// Protocols of IP.
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// Flags of TCP.
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// A segment of TCP.
pub fn tcp(source: u16, destination: u16, flags: u8) -> (u8, Vec<u8>) {
    let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    (TCP, [&ports[..], &[0; 8], &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat())
}

/// A datagram of UDP.
pub fn udp(source: u16, destination: u16) -> (u8, Vec<u8>) {
    let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    (UDP, [&ports[..], &[0, 16, 0, 0], &[0; 8]].concat())
}

/// A packet of SCTP, without chunks.
pub fn sctp(source: u16, destination: u16) -> (u8, Vec<u8>) {
    (SCTP, [source.to_be_bytes(), destination.to_be_bytes(), [0; 2], [0; 2]].concat())
}

/// A message of ICMP.
pub fn icmp(family: Family, kind: u8, code: u8, rest: &[u8]) -> (u8, Vec<u8>) {
    let protocol = if family == Family::V4 { ICMP } else { ICMPV6 };
    (protocol, [&[kind, code, 0, 0], rest].concat())
}

/// An echo request.
pub fn ping(family: Family, identifier: u16) -> (u8, Vec<u8>) {
    let kind = if family == Family::V4 { 8 } else { 128 };
    icmp(family, kind, 0, &[identifier.to_be_bytes(), [0, 1]].concat())
}

/// Its answer.
pub fn pong(family: Family, identifier: u16) -> (u8, Vec<u8>) {
    let kind = if family == Family::V4 { 0 } else { 129 };
    icmp(family, kind, 0, &[identifier.to_be_bytes(), [0, 1]].concat())
}
