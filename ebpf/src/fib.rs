//! The node's routes: whether the host stack would forward a packet.

use core::ops::RangeInclusive;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_FWD_DISABLED, bpf_fib_lookup,
    },
    helpers,
};

/// `AF_…` of `linux/socket.h`.
pub const IPV4: u8 = 2;
pub const IPV6: u8 = 10;

/// Answers of the kernel that mean: not forwarded. A packet to an address of the node is "not
/// forwarded", and so is one to which no route leads.
const STAYS: RangeInclusive<i64> =
    BPF_FIB_LKUP_RET_BLACKHOLE as i64..=BPF_FIB_LKUP_RET_FWD_DISABLED as i64;

/// What is asked: `struct bpf_fib_lookup`, without its unions.
#[repr(C)]
pub struct Query {
    family: u8,
    protocol: u8,
    ports: [u16; 2],
    /// 0: the MTU is not looked at.
    length: u16,
    ifindex: u32,
    type_of_service: u32,
    /// An IPv4 address is the first 4 bytes.
    source: [u32; 4],
    destination: [u32; 4],
    vlan: u32,
    macs: [u8; 12],
}

/// Length of [`Query`], in bytes.
const LENGTH: u16 = 64;

const _: () = {
    assert!(size_of::<Query>() == LENGTH as usize);
    assert!(size_of::<Query>() == size_of::<bpf_fib_lookup>());
};

impl Query {
    /// Becomes the question for a packet from `source` to `destination`. An answer is written over it.
    #[inline(always)]
    pub fn ask(&mut self, family: u8, source: [u32; 4], destination: [u32; 4]) {
        self.family = family;
        self.protocol = 0;
        self.ports = [0; 2];
        self.length = 0;
        self.type_of_service = 0;
        self.source = source;
        self.destination = destination;
        self.vlan = 0;
    }
}

/// Whether the host stack would forward a packet; one to an address that the node has is not forwarded.
///
/// It is the kernel's own lookup, with the rules and tables of this moment: addresses and routes
/// count that were added after the slot was made. It does not see what netfilter changes later, nor
/// rules by mark or port. Link-local IPv6 destinations are never forwarded (`rt6_need_strict`).
#[inline(always)]
pub fn forwards(packet: *mut __sk_buff, query: &mut Query) -> bool {
    // SAFETY: the context is the kernel's own.
    query.ifindex = unsafe { (*packet).ifindex };
    let query = &raw mut *query;
    // SAFETY: the context is the kernel's own, and the query has the layout and size of what the
    // helper reads and writes (size asserted above).
    let answer =
        unsafe { helpers::bpf_fib_lookup(packet.cast(), query.cast(), i32::from(LENGTH), 0) };
    // An error is no permission to leave the node.
    !STAYS.contains(&answer)
}
