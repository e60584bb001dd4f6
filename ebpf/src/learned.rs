//! Map `learned_macs`: Ethernet addresses that containers took.

use aya_ebpf::{bindings::BPF_ANY, btf_maps::LruHashMap, macros::btf_map};
use repoint_common::{
    interface::{Interface, InterfaceKey},
    learned::{Learned, MAX_ENTRIES},
    mac::Mac,
    settings,
};

use crate::{
    packet::Packet,
    settings::{is_set, set},
};

#[btf_map(name = "learned_macs")]
static LEARNED_MACS: LruHashMap<InterfaceKey, Learned, MAX_ENTRIES> = LruHashMap::new();

/// The Ethernet address that was learned of the container behind an interface.
pub fn find(ifindex: u32) -> Option<Mac> {
    if !is_set(settings::LEARNED_MACS) {
        return None;
    }
    // SAFETY: the element is not freed while the program runs. It is copied at once, because the
    // kernel may give it to another key.
    let learned = unsafe { LEARNED_MACS.get(InterfaceKey { ifindex }) };
    learned.map(|learned| learned.mac)
}

/// Remembers which Ethernet address the slot's container uses; `source` is that of a frame which is
/// known to be the container's.
pub fn learn(packet: &Packet, interface: &Interface, source: Mac) {
    let ifindex = packet.ifindex();
    let known = find(ifindex);
    if source == interface.mac {
        if known.is_some() {
            // Without the element the slot's own address counts. Another CPU may have removed it.
            let _ = LEARNED_MACS.remove(InterfaceKey { ifindex });
        }
    } else if known != Some(source) {
        remember(ifindex, source);
    }
}

#[inline(never)]
fn remember(ifindex: u32, mac: Mac) {
    let learned = Learned { mac, padding: [0; 2] };
    // Where it fails, the next packet tries again.
    let _ = LEARNED_MACS.insert(InterfaceKey { ifindex }, learned, u64::from(BPF_ANY));
    set(settings::LEARNED_MACS);
}
