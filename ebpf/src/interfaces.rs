//! Map `interfaces`: the slot behind an interface, and what is its own.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use repoint_common::{
    counter::Reason,
    interface::{
        FLAG_ENFORCE, FLAG_LINK_LOCAL, FLAG_MORE_ADDRESSES, FLAG_STACK, Interface, InterfaceKey,
        MAX_ENTRIES,
    },
};

use crate::ip::Ip;

/// Entries take memory when they are made: a node pays for the slots that it has.
const FLAGS: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map(name = "interfaces")]
static INTERFACES: HashMap<InterfaceKey, Interface, MAX_ENTRIES, FLAGS> = HashMap::new();

/// Copies the slot behind an interface; whether there is one.
#[inline(always)]
pub fn copy(ifindex: u32, to: &mut Interface) -> bool {
    // SAFETY: the element is not freed while the program runs. It is copied at once, because the
    // kernel may put it to other use as soon as user space replaces it.
    let Some(found) = (unsafe { INTERFACES.get(InterfaceKey { ifindex }) }) else { return false };
    *to = *found;
    true
}

/// Identity of the slot behind an interface; 0: it is parked, or there is none.
pub fn identity(ifindex: u32) -> u32 {
    // SAFETY: as in `copy`.
    unsafe { INTERFACES.get(InterfaceKey { ifindex }) }.map_or(0, |interface| interface.identity)
}

/// Number of the slot behind an interface; 0: there is none.
pub fn slot(ifindex: u32) -> u64 {
    // SAFETY: as in `copy`.
    unsafe { INTERFACES.get(InterfaceKey { ifindex }) }.map_or(0, |interface| interface.slot)
}

/// Fails unless the slot is in use.
pub const fn ensure_active(interface: &Interface) -> Result<(), Reason> {
    if interface.identity == 0 { Err(Reason::Parked) } else { Ok(()) }
}

/// Whether packets of the slot to link-local addresses may leave the node.
pub const fn allows_link_local(interface: &Interface) -> bool {
    interface.flags & FLAG_LINK_LOCAL != 0
}

/// Whether what the slot sends to other slots goes through the host stack.
pub const fn takes_stack(interface: &Interface) -> bool {
    interface.flags & FLAG_STACK != 0
}

/// Whether the slot's policies are enforced.
pub const fn has_policies(interface: &Interface) -> bool {
    interface.flags & FLAG_ENFORCE != 0
}

/// Whether `address` belongs to the slot behind `ifindex`.
pub fn owns<H: Ip>(interface: &Interface, ifindex: u32, address: H::Address) -> bool {
    if address == H::UNSPECIFIED {
        // In the record it stands for "none".
        return false;
    }
    address == H::first_address(interface)
        || interface.flags & FLAG_MORE_ADDRESSES != 0
            && H::endpoint(address).is_some_and(|endpoint| endpoint.ifindex == ifindex)
}
