//! Maps `endpoints_v4` and `endpoints_v6`: which interface answers for an address.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use repoint_common::endpoint::{
    AddressV4, AddressV6, Endpoint, FLAG_ENFORCE, FLAG_STACK, MAX_ENTRIES,
};

/// Entries take memory when they are made: a node pays for the slots that it has.
const FLAGS: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map(name = "endpoints_v4")]
static ENDPOINTS_V4: HashMap<AddressV4, Endpoint, MAX_ENTRIES, FLAGS> = HashMap::new();

#[btf_map(name = "endpoints_v6")]
static ENDPOINTS_V6: HashMap<AddressV6, Endpoint, MAX_ENTRIES, FLAGS> = HashMap::new();

/// The endpoint of an IPv4 address.
pub fn find_v4(address: AddressV4) -> Option<Endpoint> {
    // SAFETY: the element is not freed while the program runs. It is copied at once, because the
    // kernel may put it to other use as soon as user space replaces it.
    unsafe { ENDPOINTS_V4.get(address) }.copied()
}

/// The endpoint of an IPv6 address.
pub fn find_v6(address: AddressV6) -> Option<Endpoint> {
    // SAFETY: as in `find_v4`.
    unsafe { ENDPOINTS_V6.get(address) }.copied()
}

/// Whether packets to the endpoint go through the host stack.
pub const fn takes_stack(endpoint: &Endpoint) -> bool {
    endpoint.flags & FLAG_STACK != 0
}

/// Whether the policies of the endpoint's slot are enforced.
pub const fn has_policies(endpoint: &Endpoint) -> bool {
    endpoint.flags & FLAG_ENFORCE != 0
}
