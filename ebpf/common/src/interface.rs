//! Map `interfaces`: the slot behind a host-side veth, to check packets.

use crate::mac::Mac;

/// Name of the map from [`InterfaceKey`] to [`Interface`].
pub const MAP: &str = "interfaces";
/// Most slots that a node holds.
pub const MAX_ENTRIES: usize = 65_536;

/// The slot has more addresses than the record shows: an address that is not in the record is
/// still the slot's own when its endpoint entry names this interface.
pub const FLAG_MORE_ADDRESSES: u32 = 1;

/// Packets to link-local addresses may leave the node: key `linkLocal` of the network is `allow`.
pub const FLAG_LINK_LOCAL: u32 = 2;

/// What the slot sends to other slots goes through the host stack: key `localPath` of the network is
/// `stack`.
pub const FLAG_STACK: u32 = 4;

/// The slot and those of other tenants do not reach each other: key `isolation` of the network is
/// `tenant`.
pub const FLAG_ISOLATE_TENANT: u32 = 8;

/// The slot and those of other functions do not reach each other: key `isolation` of the network is
/// `function`.
pub const FLAG_ISOLATE_FUNCTION: u32 = 16;

/// The slot's policies are enforced ([`policy`](crate::policy)).
pub const FLAG_ENFORCE: u32 = 32;

/// Key of `interfaces`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceKey {
    /// Interface index of a slot's host-side veth.
    pub ifindex: u32,
}

/// The slot behind an interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Number of the slot in the database.
    pub slot: u64,
    /// Identity of the function that has the slot; 0: parked, every packet is dropped.
    pub identity: u32,
    /// `FLAG_…`, or'ed.
    pub flags: u32,
    /// First IPv4 address; 0.0.0.0: none.
    pub ipv4: [u8; 4],
    /// First IPv6 address; ::, none.
    pub ipv6: [u8; 16],
    /// The Ethernet address that the slot was built with.
    pub mac: Mac,
    /// Zero.
    pub padding: [u8; 2],
    /// Number of the function's tenant; 0: it has none.
    pub tenant: u32,
    /// When the slot was given to its user, in nanoseconds of `CLOCK_BOOTTIME`.
    pub epoch: u64,
}

const _: () = {
    assert!(size_of::<InterfaceKey>() == 4);
    assert!(size_of::<Interface>() == 56);
    assert!(core::mem::offset_of!(Interface, identity) == 8);
    assert!(core::mem::offset_of!(Interface, ipv4) == 16);
    assert!(core::mem::offset_of!(Interface, ipv6) == 20);
    assert!(core::mem::offset_of!(Interface, mac) == 36);
    assert!(core::mem::offset_of!(Interface, tenant) == 44);
    assert!(core::mem::offset_of!(Interface, epoch) == 48);
};

// SAFETY: `repr(C)`, no padding the compiler adds (sizes asserted above), valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for InterfaceKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Interface {}
