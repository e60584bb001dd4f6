//! Whether a packet fits through an interface.

use aya_ebpf::{bindings::bpf_check_mtu_flags::BPF_MTU_CHK_SEGS, helpers};

use crate::packet::Packet;

/// How a packet relates to an interface's MTU.
pub enum Fit {
    /// It fits; of a super-packet, each segment does.
    Fits,
    /// It does not.
    TooLarge,
    /// There is no such interface any more.
    NoInterface,
}

/// Compares a packet, or the segments of a super-packet, with an interface's MTU.
///
/// `bpf_redirect_peer` compares nothing: it delivers a packet of any size.
pub fn compare(packet: &Packet, ifindex: u32) -> Fit {
    // In: 0, which stands for the packet's own length. Out: the MTU.
    let mut length = 0;
    // SAFETY: the context is the kernel's own, and `length` is there until the helper returns.
    let answer = unsafe {
        helpers::bpf_check_mtu(
            packet.raw(),
            ifindex,
            &raw mut length,
            0,
            u64::from(BPF_MTU_CHK_SEGS),
        )
    };
    match answer {
        0 => Fit::Fits,
        1.. => Fit::TooLarge,
        _ => Fit::NoInterface,
    }
}
