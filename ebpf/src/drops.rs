//! Map `drops`: dropped packets by slot and reason, so that one sender of forged packets does not
//! hide another. Map `policy_drops`: those that policies deny, by identity and rule.

use core::arch::asm;

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::LruHashMap, macros::btf_map};
use repoint_common::{
    counter::{Counter, Reason},
    drops::{DropKey, MAX_ENTRIES, PolicyDropKey},
};

use crate::packet::Packet;

/// One counter for all CPUs: a slot drops packets on few of them, and per-CPU values would take
/// megabytes on large machines.
#[btf_map(name = "drops")]
static DROPS: LruHashMap<DropKey, Counter, MAX_ENTRIES> = LruHashMap::new();

#[btf_map(name = "policy_drops")]
static POLICY_DROPS: LruHashMap<PolicyDropKey, Counter, MAX_ENTRIES> = LruHashMap::new();

/// Counts a packet that is dropped; `slot` is 0 where the interface has none.
pub fn count(packet: &Packet, slot: u64, reason: Reason) {
    let key = DropKey { slot, ifindex: packet.ifindex(), reason: reason as u32 };
    count_in(&DROPS, &key, packet.len());
}

/// Counts a packet that a policy denies, or would deny. A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_denied(identity: u32, rule: u32, flags: u32, bytes: u32) -> u32 {
    count_in(&POLICY_DROPS, &PolicyDropKey { identity, rule, flags }, bytes);
    0
}

#[inline(always)]
fn count_in<K>(map: &LruHashMap<K, Counter, MAX_ENTRIES>, key: &K, bytes: u32) {
    let bytes = u64::from(bytes);
    if add(map, key, bytes) {
        return;
    }
    let first = Counter { packets: 1, bytes };
    if map.insert(key, first, u64::from(BPF_NOEXIST)).is_err() {
        // Another CPU has made the element since.
        add(map, key, bytes);
    }
}

/// Adds to the element of `key`, if it is there.
#[inline(always)]
fn add<K>(map: &LruHashMap<K, Counter, MAX_ENTRIES>, key: &K, bytes: u64) -> bool {
    let Some(counter) = map.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the element's memory stays a `Counter` while the program runs, aligned to 8 bytes, and
    // programs change it by atomic additions only. When the kernel gives it to another key meanwhile,
    // one packet is counted there.
    unsafe {
        add_atomically(&raw mut (*counter).packets, 1);
        add_atomically(&raw mut (*counter).bytes, bytes);
    }
    true
}

/// `BPF_ATOMIC | BPF_ADD`: `core` has no atomic additions for a target without compare-and-swap, and
/// that came with a later version of the instruction set.
///
/// # Safety
/// `number` must be valid, aligned to 8 bytes, and changed by atomic additions only.
unsafe fn add_atomically(number: *mut u64, more: u64) {
    // SAFETY: it writes the 8 bytes at `number` only, which the caller vouches for.
    unsafe {
        asm!("lock *(u64 *)({number} + 0) += {more}", number = in(reg) number, more = in(reg) more);
    }
}
