//! A packet and what must become of it.

use std::net::{Ipv4Addr, Ipv6Addr};

use repoint_common::{counter::Reason, mac::GATEWAY_MAC};

use super::packet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6, Mac};

/// An address of each family.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

const fn addresses(network: u8, host: u8) -> Addresses {
    Addresses {
        v4: Ipv4Addr::new(10, 217, network, host),
        v6: Ipv6Addr::new(0xfd00, 0x217, network as u16, 0, 0, 0, 0, host as u16),
    }
}

/// The slot that sends and receives.
pub const OWN: Addresses = addresses(1, 5);
pub const OWN_MAC: Mac = [0x0a, 0, 0, 0, 0, 5];
/// Its own only where it has more addresses than its record shows.
pub const SECOND: Addresses = addresses(2, 5);
/// Another slot.
pub const PEER: Addresses = addresses(1, 6);
pub const PEER_MAC: Mac = [0x0a, 0, 0, 0, 0, 6];
/// A parked slot.
pub const PARKED: Addresses = addresses(1, 7);
/// No endpoint of this node.
pub const REMOTE: Addresses = addresses(9, 1);
/// A slot with a small MTU.
pub const NARROW: Addresses = addresses(1, 8);
/// An endpoint whose interface is gone.
pub const GONE: Addresses = addresses(1, 9);
/// A slot whose packets go through the host stack.
pub const STACK: Addresses = addresses(1, 10);
/// None.
pub const UNSPECIFIED: Addresses =
    Addresses { v4: Ipv4Addr::UNSPECIFIED, v6: Ipv6Addr::UNSPECIFIED };

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    FromContainer,
    ToContainer,
}

/// Largest packet of [`Device::Narrow`], in bytes.
pub const NARROW_MTU: usize = 1280;

/// An interface of the rig: its slot is in use, …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// … with one address of each family,
    Active,
    /// with IPv4 addresses only,
    OnlyV4,
    /// with IPv6 addresses only,
    OnlyV6,
    /// with two addresses of each family;
    More,
    /// and its network allows link-local destinations,
    LinkLocal,
    /// with an MTU of [`NARROW_MTU`],
    Narrow,
    /// another slot's, with [`PEER`],
    Peer,
    /// and packets to and from it go through the host stack;
    Stack,
    /// it is parked;
    Parked,
    /// there is none.
    Unknown,
}

/// A packet, where it passes, and what must become of it.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub program: Program,
    pub device: Device,
    /// The interface by which the packet came to the node; none: the node made it.
    pub came_by: Option<Device>,
    pub packet: Vec<u8>,
    /// Payload of each segment of a super-packet, in bytes; 0: it is none.
    pub gso_size: u32,
    pub expected: Reason,
    /// What the packet is afterwards; none: what the reason says.
    pub answer: Option<Vec<u8>>,
}

impl Case {
    pub fn new(
        name: impl Into<String>,
        program: Program,
        packet: Vec<u8>,
        expected: Reason,
    ) -> Self {
        let (name, device) = (name.into(), Device::Active);
        Self { name, program, device, came_by: None, packet, gso_size: 0, expected, answer: None }
    }

    /// On another interface.
    pub fn on(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// After it came to the node by an interface.
    pub fn by(self, device: Device) -> Self {
        Self { came_by: Some(device), ..self }
    }

    /// As a super-packet.
    pub fn segmented(self) -> Self {
        Self { gso_size: 1400, ..self }
    }
}

/// A frame as the container sends it, or as the host stack sends it to the container.
pub fn frame(program: Program, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    match program {
        Program::FromContainer => packet::frame(GATEWAY_MAC, OWN_MAC, ethertype, payload),
        Program::ToContainer => packet::frame(OWN_MAC, GATEWAY_MAC, ethertype, payload),
    }
}

pub fn v4_frame(program: Program, ip: &Ipv4) -> Vec<u8> {
    frame(program, ETHERTYPE_IPV4, &ip.bytes())
}

pub fn v6_frame(program: Program, ip: &Ipv6) -> Vec<u8> {
    frame(program, ETHERTYPE_IPV6, &ip.bytes())
}

/// A packet that passes, and what it is counted as.
pub fn good_v4(program: Program) -> (Ipv4, Reason) {
    match program {
        Program::FromContainer => (Ipv4::new(OWN.v4, PEER.v4), Reason::Redirected),
        Program::ToContainer => (Ipv4::new(REMOTE.v4, OWN.v4), Reason::ToContainer),
    }
}

/// A packet that passes, and what it is counted as.
pub fn good_v6(program: Program) -> (Ipv6, Reason) {
    match program {
        Program::FromContainer => (Ipv6::new(OWN.v6, PEER.v6), Reason::Redirected),
        Program::ToContainer => (Ipv6::new(REMOTE.v6, OWN.v6), Reason::ToContainer),
    }
}

/// A datagram of each family, from one slot or host to another.
pub fn both(
    name: &str,
    program: Program,
    source: Addresses,
    destination: Addresses,
    expected: Reason,
) -> [Case; 2] {
    let v4 = v4_frame(program, &Ipv4::new(source.v4, destination.v4));
    let v6 = v6_frame(program, &Ipv6::new(source.v6, destination.v6));
    [
        Case::new(format!("IPv4 {name}"), program, v4, expected),
        Case::new(format!("IPv6 {name}"), program, v6, expected),
    ]
}

/// The cases of both programs.
pub fn of_both(cases: impl Fn(Program) -> Vec<Case>) -> Vec<Case> {
    [Program::FromContainer, Program::ToContainer].into_iter().flat_map(cases).collect()
}
