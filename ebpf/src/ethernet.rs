//! Ethernet: the header, and what the programs let pass of it.

use repoint_common::{
    counter::Reason,
    mac::{GATEWAY_MAC, Mac},
};

use crate::packet::Packet;

/// Length of the header, in bytes.
pub const LENGTH: u32 = 14;

/// `ETH_P_…` of `linux/if_ether.h`, in network byte order.
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const VLAN: [u8; 2] = [0x81, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];

/// [`Header::ethertype`] of IPv4.
pub const ETHERTYPE_IPV4: u16 = u16::from_be_bytes(IPV4);
/// [`Header::ethertype`] of IPv6.
pub const ETHERTYPE_IPV6: u16 = u16::from_be_bytes(IPV6);

/// Ethernet header, IEEE 802.3.
#[repr(C)]
pub struct Header {
    pub destination: Mac,
    pub source: Mac,
    ethertype: [u8; 2],
}

const _: () = assert!(size_of::<Header>() == LENGTH as usize);

/// The protocols that are known.
pub enum Protocol {
    Arp,
    Ipv4,
    Ipv6,
}

impl Header {
    /// Reads the header.
    pub fn load(packet: &Packet) -> Result<Self, Reason> {
        packet.load(0)
    }

    /// Whether the frame is addressed to more than one station.
    pub const fn is_to_group(&self) -> bool {
        self.destination[0] & 1 == 1
    }

    /// Whether a container may use the source: one station, not the gateway.
    pub fn has_station_source(&self) -> bool {
        self.source[0] & 1 == 0 && self.source != [0; 6] && self.source != GATEWAY_MAC
    }

    /// The protocol inside (`ETH_P_…`).
    pub const fn ethertype(&self) -> u16 {
        u16::from_be_bytes(self.ethertype)
    }

    /// The protocol inside, or why the frame is dropped.
    pub fn protocol(&self, packet: &Packet) -> Result<Protocol, Reason> {
        // The kernel takes the outer tag out of what it receives; an inner one stays.
        if packet.has_vlan_tag() {
            return Err(Reason::Vlan);
        }
        match self.ethertype {
            IPV4 => Ok(Protocol::Ipv4),
            IPV6 => Ok(Protocol::Ipv6),
            ARP => Ok(Protocol::Arp),
            VLAN | SERVICE_VLAN => Err(Reason::Vlan),
            _ => Err(Reason::UnknownProtocol),
        }
    }
}

/// Addresses a frame to a container, from its gateway.
pub fn readdress(packet: &Packet, container: Mac) -> Result<(), Reason> {
    // No flag: checksums that the kernel keeps of a packet begin behind this header.
    packet.store(0, &[container, GATEWAY_MAC], 0)
}

/// Addresses a frame to the station that the container uses now.
pub fn correct_destination(packet: &Packet, station: Mac) -> Result<(), Reason> {
    packet.store(0, &station, 0)
}
