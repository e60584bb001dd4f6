//! What becomes of a packet.

use aya_ebpf::{
    bindings::{TC_ACT_OK, TC_ACT_REDIRECT, TC_ACT_SHOT},
    helpers::bpf_redirect_peer,
};
use repoint_common::counter::Reason;

use crate::{counters, drops, log, packet::Packet};

/// What becomes of a packet: it passes (`Ok`), or is dropped (`Err`).
///
/// One type on both sides, without data: the compiler would leave bytes of an enum undefined that
/// the verifier sees read.
pub type Verdict = Result<Reason, Reason>;

/// Counts the packet of a slot, 0 where there is none, and turns the verdict into a tc action.
pub fn conclude(packet: &Packet, slot: u64, verdict: Verdict) -> i32 {
    let (Ok(reason) | Err(reason)) = verdict;
    if matches!(reason, Reason::Truncated | Reason::Malformed) {
        log::broken(packet, reason);
    }
    counters::count(reason, packet.len());
    match verdict {
        Ok(Reason::Redirected) => TC_ACT_REDIRECT,
        Ok(_) => TC_ACT_OK,
        Err(reason) => {
            drops::count(packet, slot, reason);
            TC_ACT_SHOT
        }
    }
}

/// Names the interface whose peer is to receive the packet, past the host stack.
///
/// It happens after the program: when that interface goes in between, the kernel drops the packet,
/// and `redirected` has counted it.
pub fn redirect(ifindex: u32) -> Reason {
    // SAFETY: takes numbers only. It can but return `TC_ACT_REDIRECT`, flags being 0.
    unsafe { bpf_redirect_peer(ifindex, 0) };
    Reason::Redirected
}
