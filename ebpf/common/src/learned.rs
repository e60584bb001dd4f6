//! Map `learned_macs`: Ethernet addresses that containers took, other than their slots' own.
//!
//! A chained plugin gives the interface another address, or a virtual machine behind it has its own.
//! `from_container` writes an element when a packet from the slot's own IP address, or ARP or
//! neighbour discovery that names it, comes from another Ethernet address; and removes it when one
//! comes from the slot's. Both programs address frames to it. The scrub removes the element before
//! the slot has another user.

use crate::mac::Mac;

/// Name of the map from [`InterfaceKey`](crate::interface::InterfaceKey) to [`Learned`].
pub const MAP: &str = "learned_macs";
/// Most elements; a new one then takes the place of one that no packet has used for long.
pub const MAX_ENTRIES: usize = 16_384;

/// The Ethernet address that the container behind an interface uses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The address, a unicast one.
    pub mac: Mac,
    /// Zero.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<Learned>() == 8);

// SAFETY: `repr(C)`, no padding the compiler adds (size asserted above), valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Learned {}
