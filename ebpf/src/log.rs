//! Log records of what ought not to happen: forged and broken packets.
//!
//! Each CPU writes one record of a kind a second at most. The counters have the numbers, and a container
//! that floods the node with such packets must not flood its log as well.

use aya_ebpf::{btf_maps::PerCpuArray, helpers::bpf_ktime_get_coarse_ns, macros::btf_map};
use aya_log_ebpf::{debug, warn};
use repoint_common::{
    counter::{REASONS, Reason},
    mac::Mac,
};

use crate::packet::Packet;

/// Rest between two records of a kind, ns.
const REST: u64 = 1_000_000_000;

/// When the next record of a reason may be written, ns since boot.
#[btf_map(name = "log_due")]
static DUE: PerCpuArray<u64, REASONS> = PerCpuArray::new();

/// Whether a record may be written now; if so, the next one may not for a while.
fn is_due(reason: Reason) -> bool {
    let Some(due) = DUE.get_ptr_mut(reason as u32) else {
        return false;
    };
    // SAFETY: the element is this CPU's own, and no other tc program interrupts this one.
    let due = unsafe { &mut *due };
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    if now < *due {
        return false;
    }
    *due = now + REST;
    true
}

/// A frame from, or to, an Ethernet address that is not of this link.
#[inline(never)]
pub fn foreign_mac(packet: &Packet, source: Mac, destination: Mac) {
    if is_due(Reason::ForeignMac) {
        let ifindex = packet.ifindex();
        warn!(
            packet.context(),
            "interface {}: foreign MAC: {:mac} > {:mac}", ifindex, source, destination
        );
    }
}

/// A packet from an IPv4 address that is not the slot's.
#[inline(never)]
pub fn foreign_ipv4(packet: &Packet, source: [u8; 4]) {
    if is_due(Reason::ForeignAddress) {
        warn!(packet.context(), "interface {}: foreign source {:i}", packet.ifindex(), source);
    }
}

/// A packet from an IPv6 address that is not the slot's.
#[inline(never)]
pub fn foreign_ipv6(packet: &Packet, source: [u8; 16]) {
    if is_due(Reason::ForeignAddress) {
        warn!(packet.context(), "interface {}: foreign source {:i}", packet.ifindex(), source);
    }
}

/// A packet with a header that is cut off or contradicts itself.
#[inline(never)]
pub fn broken(packet: &Packet, reason: Reason) {
    if is_due(reason) {
        let what = if matches!(reason, Reason::Truncated) { "truncated" } else { "malformed" };
        debug!(
            packet.context(),
            "interface {}: {} packet of {} bytes",
            packet.ifindex(),
            what,
            packet.len()
        );
    }
}
