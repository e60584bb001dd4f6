//! What becomes of a packet.

use aya_ebpf::{
    bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::bpf_redirect_peer,
};
use repoint_common::counter::Reason;

use crate::{counters, drops, events, log, packet::Packet};

/// What becomes of a packet: it passes (`Ok`), or is dropped (`Err`).
///
/// One type on both sides, without data: the compiler would leave bytes of an enum undefined that
/// the verifier sees read.
pub type Verdict = Result<Reason, Reason>;

/// Counts the packet of a slot, 0 where there is none, and turns the verdict into a tc action. What is
/// dropped has its record in `events`.
///
/// What passes goes on to the filters and programs of others behind this one (`TC_ACT_UNSPEC`, for
/// tcx `TCX_NEXT`): `TC_ACT_OK` would end the chain.
pub fn conclude(packet: &Packet, slot: u64, verdict: Verdict) -> i32 {
    let (Ok(reason) | Err(reason)) = verdict;
    if matches!(reason, Reason::Truncated | Reason::Malformed) {
        log::broken(packet, reason);
    }
    counters::count(reason, packet.len());
    match verdict {
        Ok(Reason::Redirected | Reason::Answered) => TC_ACT_REDIRECT,
        Ok(_) => TC_ACT_UNSPEC,
        Err(reason) => {
            drops::count(packet, slot, reason);
            events::write(packet, slot, reason);
            TC_ACT_SHOT
        }
    }
}

/// Names the interface whose peer is to receive the packet, past the host stack.
///
/// The kernel redirects the packet after the program has returned. If that interface goes in between, the
/// kernel drops the packet, though `redirected` has counted it.
pub fn redirect(ifindex: u32) -> Reason {
    // SAFETY: takes numbers only. It always returns `TC_ACT_REDIRECT`, as the flags are 0.
    unsafe { bpf_redirect_peer(ifindex, 0) };
    Reason::Redirected
}

/// Sends the packet, by now an answer, back to the container that asked.
///
/// The kernel took the question for a broadcast or a multicast, if it was one; the answer is for one
/// station.
pub fn answer(packet: &Packet) -> Verdict {
    packet.address_to_host()?;
    redirect(packet.ifindex());
    Ok(Reason::Answered)
}
