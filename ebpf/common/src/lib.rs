//! Layout of every BPF map, and the words for what becomes of a packet.
//!
//! The eBPF programs and user space both compile these types; nothing else describes them.
//! Changing a size, an offset or a meaning here changes what is pinned: bump [`LAYOUT_VERSION`]
//! with it. Addresses are octets in network byte order, as `bpftool map dump` then prints them;
//! every other number is in host byte order.
#![no_std]
#![cfg_attr(feature = "user", expect(unsafe_code, reason = "aya::Pod is a promise about layout"))]

pub mod conntrack;
pub mod counter;
pub mod drops;
pub mod endpoint;
pub mod event;
pub mod flow;
pub mod interface;
pub mod learned;
pub mod mac;
pub mod policy;
pub mod settings;

/// Version of all layouts in this crate: the name of the pin directory below `bpfDir` is `v` and
/// this number.
pub const LAYOUT_VERSION: u32 = 9;

/// The IPv4 gateway that every container uses: link-local, answered for by a permanent neighbour
/// entry, configured on no interface.
pub const GATEWAY_V4: [u8; 4] = [169, 254, 1, 1];

/// The IPv6 gateway that every container uses, `fe80::1`.
pub const GATEWAY_V6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
