//! Map `counters`: what became of packets.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use repoint_common::counter::{Counter, REASONS, Reason};

#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<Counter, REASONS> = PerCpuArray::new();

/// Counts a packet of `bytes` bytes.
pub fn count(reason: Reason, bytes: u32) {
    let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) else {
        return;
    };
    // SAFETY: the element is this CPU's own, and a tc program is not interrupted by another one:
    // both hooks run with bottom halves off.
    let counter = unsafe { &mut *counter };
    counter.packets += 1;
    counter.bytes += u64::from(bytes);
}
