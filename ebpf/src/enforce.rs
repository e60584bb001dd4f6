//! Policies, enforced: whether a packet may pass between its two ends.
//!
//! A packet of a flow that policies let pass goes on. Any other is judged by the egress policy of the slot that
//! sends and the ingress policy of the slot that receives. The first line that applies decides:
//!
//! | | Packet | Outcome |
//! |---|---|---|
//! | 1 | from an address of a slot of this node, by another interface | drop, `foreign_address` |
//! | 2 | with an IPv4 source route, or an IPv6 routing header | drop, `source_route` |
//! | 3 | more than 8 extension headers; SYN of TCP with FIN or RST | drop, `malformed` |
//! | 4 | first fragment without ports; TCP fragment at 8 bytes | drop, `fragment` |
//! | 5 | ICMP error about a packet of a flow | passes |
//! | 6 | ICMP error "too large", not from a slot of this node, about a packet from the receiver's address | passes |
//! | 7 | of a flow that was judged by the present policies | passes |
//! | 8 | of a flow that was judged by other policies | judged as the flow's first packet |
//! | 9 | TCP SYN-ACK without a flow | drop, `no_flow` |
//! | 10 | TCP without SYN, in a slot's first minute | drop, `no_flow` |
//! | 11 | other TCP without SYN | judged in its own direction, then in the other, without making a flow; else drop, `no_flow` |
//! | 12 | any other | judged in its own direction |
//! | 13 | that opens a flow beyond the slot's or its tenant's share | drop, `flow_rate` |
//! | 14 | that opens a flow for which there is no memory | SYN: drop, `conntrack_full`; else passes |
//!
//! 1: who sends such a packet is not known, and its flow would take the place of the slot's own.
//!
//! 7: not for the opener of a flow whose address the host stack translates: the flow's element cannot hold who
//! sends. Its packets are judged one by one.
//!
//! 10: the peers of the address's former user may still send, and would be taken for the opener of a flow.
//! 11: the element of a running flow may have made room for others. It heals from either end.

use aya_ebpf::{bindings::__sk_buff, programs::TcContext};
use repoint_common::{counter::Reason, drops::BY_AUDIT, endpoint::Endpoint};

use crate::{
    conntrack, drops, events,
    ip::{self, Ip},
    ipv4, ipv6,
    judge::{self, Answer},
    packet::Packet,
    segment::{self, Piece, Segment, Shape, Upper},
    subject::End,
    transport,
    work::{Handle, Work},
};

/// Judges a packet that the slot of `work` sends to an endpoint, or beyond.
#[inline(always)]
pub fn check_sent<H: Ip>(
    packet: &Packet,
    work: &mut Handle,
    endpoint: Option<&Endpoint>,
) -> Result<(), Reason> {
    let Work { subject, interface, .. } = work.get();
    subject.sender.be_slot(interface, packet.ifindex());
    match endpoint {
        Some(endpoint) => subject.receiver.be_endpoint(endpoint),
        None => subject.receiver.be_beyond(),
    }
    check::<H>(packet, work)
}

/// Judges a packet to the slot of `work`, which the other slot of `work` sent (`by_slot`), or another sender.
#[inline(always)]
pub fn check_received<H: Ip>(
    packet: &Packet,
    header: &H,
    work: &mut Handle,
    by_slot: bool,
) -> Result<(), Reason> {
    let Work { subject, interface, sender: slot, .. } = work.get();
    subject.receiver.be_slot(interface, packet.ifindex());
    let sender = &mut subject.sender;
    let found = H::endpoint(header.source());
    let came_by = packet.came_by();
    if came_by == 0 {
        // A process of the node may use any address, and a proxy does.
        sender.be_host(found.map_or(0, |found| found.epoch));
    } else if found.is_some_and(|found| found.ifindex != came_by) {
        return Err(Reason::ForeignAddress);
    } else if by_slot {
        sender.be_slot(slot, came_by);
        if found.is_none() {
            sender.translate();
        }
    } else {
        sender.be_outside();
    }
    check::<H>(packet, work)
}

/// Judges a packet, of which `work` has the ends.
#[inline(always)]
fn check<H: Ip>(packet: &Packet, work: &mut Handle) -> Result<(), Reason> {
    match H::prepare(packet) {
        Answer::PASS => {}
        Answer::ABOUT_FLOW => return Ok(()),
        answer => return Err(judge::reason(answer)),
    }
    let answer = judge::judge(packet);
    let work = work.get();
    if answer != Answer::PASS {
        if let Some(flags) = judge::flags_of_denial(answer) {
            drops::count_denied(work.asked, work.rule, flags, packet.len());
        }
        return Err(judge::reason(answer));
    }
    if work.piece == Piece::FIRST {
        segment::keep(work);
    }
    if let Some(flags) = judge::flags_of_denial(work.audited) {
        let (identity, rule) = (work.audited_identity, work.audited_rule);
        drops::count_denied(identity, rule, flags | BY_AUDIT, packet.len());
        (work.policy, work.rule) = (work.audited_policy, work.audited_rule);
        events::audit(packet, judge::reason(work.audited));
        (work.policy, work.rule) = (0, 0);
    }
    Ok(())
}

/// Writes the subject of a packet into this CPU's memory. Returns an [`Answer`]: it passes to be judged, is about a
/// flow, or is dropped (lines 2 to 6).
///
/// A global function, as those of [`judge`].
///
/// # Safety
///
/// `context` is the program's.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn prepare_v4(context: *mut __sk_buff) -> u32 {
    prepare::<ipv4::Header>(context)
}

/// As [`prepare_v4`].
///
/// # Safety
///
/// As there.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn prepare_v6(context: *mut __sk_buff) -> u32 {
    prepare::<ipv6::Header>(context)
}

#[inline(always)]
fn prepare<H: Ip>(context: *mut __sk_buff) -> u32 {
    let Some(mut work) = Handle::find() else { return Answer::NO_POLICY.number() };
    // Neither the direction nor the ends matter here.
    let packet = Packet::new(TcContext::new(context), 0);
    let answer = match is_about_flow::<H>(&packet, work.get()) {
        Ok(false) => Answer::PASS,
        Ok(true) => Answer::ABOUT_FLOW,
        Err(reason) => Answer::drop(reason),
    };
    answer.number()
}

#[inline(always)]
fn is_about_flow<H: Ip>(packet: &Packet, work: &mut Work) -> Result<bool, Reason> {
    let header: H = packet.load(ip::OFFSET)?;
    let upper = header.upper(packet)?;
    Segment::fill::<H>(packet, &header, &upper, work)?;
    work.subject.source = H::aligned(header.source());
    work.subject.destination = H::aligned(header.destination());
    let shape = work.subject.segment.shape;
    if shape != Shape::ERROR && shape != Shape::TOO_LARGE {
        return Ok(false);
    }
    let inner = upper.offset + transport::ICMP_LENGTH;
    let Ok(about) = packet.load::<H>(inner) else { return Ok(false) };
    if about.source() != header.destination() {
        return Ok(false);
    }
    let is_by_slot = work.subject.sender.is_local();
    if shape == Shape::TOO_LARGE && !is_by_slot {
        return Ok(true);
    }
    // A router may say so as well, but slots are no routers.
    if is_by_slot && about.destination() != header.source() {
        return Ok(false);
    }
    let Some(payload) = about.payload_behind(packet, inner) else { return Ok(false) };
    let Ok(segment) = Segment::read_ports::<H>(packet, &Upper::whole(payload)) else {
        return Ok(false);
    };
    let subject = &mut work.about;
    subject.segment = segment;
    subject.source = H::aligned(about.source());
    subject.destination = H::aligned(about.destination());
    write_end::<H>(&mut subject.sender, about.source());
    write_end::<H>(&mut subject.receiver, about.destination());
    Ok(conntrack::is_known(work))
}

/// Writes the end that has an address.
#[inline(always)]
fn write_end<H: Ip>(end: &mut End, address: H::Address) {
    match H::endpoint(address) {
        Some(endpoint) => end.be_endpoint(&endpoint),
        None => end.be_outside(),
    }
}
