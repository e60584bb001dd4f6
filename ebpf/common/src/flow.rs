//! Map `stack_flows`: flows between slots of this node that came by the host stack.
//!
//! A service address, or a port of the node, that is translated to a slot's address is no endpoint: what one
//! slot sends there goes to the host stack, which translates the destination and hands the packet to the
//! other slot. The answer must go back the same way to be translated back. `to_container` writes an element
//! for what a slot of this node sent and the host stack delivers; `from_container` sends to the host stack
//! what answers it. Nothing removes elements: the least recently used makes room.

/// Name of the map from [`FlowKey`] to [`Flow`].
pub const MAP: &str = "stack_flows";
/// Most elements; a new one then takes the place of one that no packet has used for long.
pub const MAX_ENTRIES: usize = 65_536;

/// A flow, as seen by the slot that did not open it. With ports and protocol zero it is any flow between
/// this slot and the peer, for fragments.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Interface index of the slot's host-side veth.
    pub ifindex: u32,
    /// Address of the peer, which is another slot of this node; IPv4 as an IPv4-mapped address.
    pub peer: [u8; 16],
    /// The slot's port, in network byte order; for ICMP echo the identifier.
    pub own_port: [u8; 2],
    /// The peer's port, in network byte order; for ICMP echo the identifier as well.
    pub peer_port: [u8; 2],
    /// Protocol of IP.
    pub protocol: u8,
    /// Zero.
    pub padding: [u8; 3],
}

/// What is known of a flow: that it is there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// 1.
    pub seen: u32,
}

const _: () = {
    assert!(size_of::<FlowKey>() == 28);
    assert!(size_of::<Flow>() == 4);
};

// SAFETY: `repr(C)`, no padding the compiler adds (sizes asserted above), valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for FlowKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Flow {}
