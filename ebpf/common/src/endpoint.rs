//! Maps `endpoints_v4` and `endpoints_v6`: which interface answers for an address.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::mac::Mac;

/// Name of the map from [`AddressV4`] to [`Endpoint`].
pub const MAP_V4: &str = "endpoints_v4";
/// Name of the map from [`AddressV6`] to [`Endpoint`].
pub const MAP_V6: &str = "endpoints_v6";
/// Most endpoints of one family that a node holds.
pub const MAX_ENTRIES: usize = 65_536;

/// Key of `endpoints_v4`. Aligned, so that programs compare and copy it as one word.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressV4 {
    /// The address, network byte order.
    pub octets: [u8; 4],
}

/// Key of `endpoints_v6`. Aligned, so that programs compare and copy it as two words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressV6 {
    /// The address, network byte order.
    pub octets: [u8; 16],
}

impl From<Ipv4Addr> for AddressV4 {
    fn from(address: Ipv4Addr) -> Self {
        Self { octets: address.octets() }
    }
}

impl From<AddressV4> for Ipv4Addr {
    fn from(address: AddressV4) -> Self {
        address.octets.into()
    }
}

impl From<Ipv6Addr> for AddressV6 {
    fn from(address: Ipv6Addr) -> Self {
        Self { octets: address.octets() }
    }
}

impl From<AddressV6> for Ipv6Addr {
    fn from(address: AddressV6) -> Self {
        address.octets.into()
    }
}

/// Packets to the endpoint go through the host stack: key `localPath` of its network is `stack`.
pub const FLAG_STACK: u16 = 1;

/// The slot and those of other tenants do not reach each other: key `isolation` of its network is
/// `tenant`. The number is that of [`interface::FLAG_ISOLATE_TENANT`](crate::interface::FLAG_ISOLATE_TENANT).
pub const FLAG_ISOLATE_TENANT: u16 = 8;

/// The slot and those of other functions do not reach each other: key `isolation` of its network is
/// `function`. The number is that of
/// [`interface::FLAG_ISOLATE_FUNCTION`](crate::interface::FLAG_ISOLATE_FUNCTION).
pub const FLAG_ISOLATE_FUNCTION: u16 = 16;

/// The slot's policies are enforced. The number is that of
/// [`interface::FLAG_ENFORCE`](crate::interface::FLAG_ENFORCE).
pub const FLAG_ENFORCE: u16 = 32;

/// Where packets to an address go. Always replaced whole, so that a packet sees the old entry or
/// the new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Interface index of the slot's host-side veth.
    pub ifindex: u32,
    /// Identity of the function that has the slot; 0: parked, every packet is dropped.
    pub identity: u32,
    /// The container's own Ethernet address.
    pub mac: Mac,
    /// `FLAG_…`, or'ed.
    pub flags: u16,
    /// Number of the function's tenant; 0: it has none.
    pub tenant: u32,
    /// Zero.
    pub padding: u32,
    /// When the slot was given to its user, in nanoseconds of `CLOCK_BOOTTIME`: no two users of an address have
    /// the same.
    pub epoch: u64,
}

const _: () = {
    assert!(size_of::<AddressV4>() == 4);
    assert!(size_of::<AddressV6>() == 16);
    assert!(size_of::<Endpoint>() == 32);
    assert!(core::mem::offset_of!(Endpoint, identity) == 4);
    assert!(core::mem::offset_of!(Endpoint, mac) == 8);
    assert!(core::mem::offset_of!(Endpoint, flags) == 14);
    assert!(core::mem::offset_of!(Endpoint, tenant) == 16);
    assert!(core::mem::offset_of!(Endpoint, epoch) == 24);
};

// SAFETY: `repr(C)`, no padding the compiler adds (sizes asserted above), valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for AddressV4 {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for AddressV6 {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Endpoint {}
