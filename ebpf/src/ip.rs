//! What the two versions of IP have in common.

use repoint_common::{
    counter::Reason,
    endpoint::{AddressV6, Endpoint},
    interface::Interface,
};

use crate::{
    ethernet, fib::Query, judge::Answer, packet::Packet, segment::Upper, transport::Payload,
    verdict::Verdict,
};

/// Offset of the IP header, in bytes.
pub const OFFSET: u32 = ethernet::LENGTH;

/// The fixed part of an IP header.
///
/// Only it decides: IPv4 options, IPv6 extension headers and fragments, first or later, are
/// carried unchanged.
pub trait Ip: Sized {
    /// An address of this version: the key of its endpoints.
    type Address: Copy + Eq;

    /// The address that says there is none.
    const UNSPECIFIED: Self::Address;

    /// Protocol: ICMP of this version.
    const ICMP: u8;

    /// What distinguishes fragments of a packet besides addresses and identification; 0: nothing does.
    fn fragments_of(protocol: u8) -> u8;

    /// Whether a fragment behind the first may be one of TCP. It shows this protocol.
    fn may_be_tcp(protocol: u8) -> bool;

    /// Reads the header and checks it against the packet: [`Reason::Truncated`],
    /// [`Reason::Malformed`], or, when it is that, [`Reason::NeighbourDiscovery`].
    fn load(packet: &Packet) -> Result<Self, Reason>;

    /// Where the packet claims to come from.
    fn source(&self) -> Self::Address;

    /// Where the packet goes.
    fn destination(&self) -> Self::Address;

    /// Whether the packet goes to a multicast or broadcast address.
    fn is_to_group(&self) -> bool;

    /// Whether the packet goes to an address that no packet on a wire has: loopback, IPv4-mapped or
    /// unspecified; or to the gateway's own, which no interface has.
    fn is_to_martian(&self) -> bool;

    /// Whether the packet comes from a link-local address, and goes to the gateway.
    fn is_from_link_to_gateway(&self) -> bool;

    /// Answers a packet to a martian destination for the gateway if it is an echo request to it, in one
    /// piece and without options; or else [`Reason::Martian`].
    fn answer_echo(&self, packet: &Packet, frame: &ethernet::Header) -> Verdict;

    /// Whether the packet goes to a link-local address.
    fn is_to_link_local(&self) -> bool;

    /// Whether the packet goes to an address of a cloud's metadata service, other than link-local ones.
    fn is_to_metadata(&self) -> bool;

    /// Whether the host stack would forward the packet, rather than keep it or refuse it.
    fn would_be_forwarded(&self, packet: &Packet, query: &mut Query) -> bool;

    /// Protocol of the payload, or of the first extension header.
    fn protocol(&self) -> u8;

    /// How many more hops the packet may take: TTL, or hop limit.
    fn hops_left(&self) -> u8;

    /// Takes one from [`Self::hops_left`] in the packet, which must have more than one.
    fn take_hop(&self, packet: &Packet) -> Result<(), Reason>;

    /// Where the payload begins. None unless the packet carries an unfragmented message of TCP, UDP, SCTP
    /// or ICMP.
    fn payload(&self, packet: &Packet) -> Option<Payload> {
        self.payload_behind(packet, OFFSET)
    }

    /// Like [`Self::payload`], for a packet that another one holds at `offset`.
    fn payload_at(packet: &Packet, offset: u32) -> Option<Payload> {
        packet.load::<Self>(offset).ok()?.payload_behind(packet, offset)
    }

    /// Like [`Self::payload`], for this header, which is at `offset`.
    fn payload_behind(&self, packet: &Packet, offset: u32) -> Option<Payload>;

    /// Writes the packet's subject, by a global function of [`enforce`](crate::enforce).
    fn prepare(packet: &Packet) -> Answer;

    /// Where extension headers and options end. [`Reason::SourceRoute`] if they have the packet take another way,
    /// [`Reason::Malformed`] if they are too many or contradict themselves.
    fn upper(&self, packet: &Packet) -> Result<Upper, Reason>;

    /// An address as an IPv6 address: IPv4 as an IPv4-mapped one.
    fn mapped(address: Self::Address) -> [u8; 16];

    /// The same, aligned as keys of maps have it.
    fn aligned(address: Self::Address) -> AddressV6;

    /// The endpoint of an address.
    fn endpoint(address: Self::Address) -> Option<Endpoint>;

    /// The first address of a slot, or [`Self::UNSPECIFIED`].
    fn first_address(interface: &Interface) -> Self::Address;

    /// Logs that the source address is not the slot's.
    fn warn_of_source(&self, packet: &Packet);
}
