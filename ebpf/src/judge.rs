//! Whether a packet belongs to a flow that passed, and whether policies let it open one.
//!
//! These are global functions: the verifier looks at each once, for any packet, and not at every call. Such a
//! function takes the program's context, numbers, and pointers that the verifier wants compared with null, and
//! returns a number.

use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::lpm_trie::Key,
    helpers::{bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns},
};
use repoint_common::{
    conntrack::YOUNG,
    counter::Reason,
    drops::BY_EGRESS,
    endpoint::AddressV6,
    policy::{ALLOW, FLAG_NETWORKS, GROUP_WORDS, HOST, Policy, WORLD},
    settings,
};

use crate::{
    budgets,
    conntrack::{self, Found, New, SECOND},
    fib::{self, Query},
    packet::Packet,
    policies::{self, BLIND, NEEDS_PORT, Opening, Said},
    segment::{self, Segment, Shape},
    settings::value,
    subject::{ASK_ROUTES, End, Subject, TRANSLATED},
    work::{Handle, Work},
};

/// A verdict as a number: [`Self::PASS`], or one more than that of a [`Reason`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Answer(u32);

impl Answer {
    pub const PASS: Self = Self(0);
    /// An ICMP error about a flow: it passes.
    pub const ABOUT_FLOW: Self = Self(u32::MAX);
    const TRUNCATED: Self = Self::drop(Reason::Truncated);
    const SOURCE_ROUTE: Self = Self::drop(Reason::SourceRoute);
    const MALFORMED: Self = Self::drop(Reason::Malformed);
    pub const NO_POLICY: Self = Self::drop(Reason::NoPolicy);
    const POLICY_EGRESS: Self = Self::drop(Reason::PolicyEgress);
    const POLICY_INGRESS: Self = Self::drop(Reason::PolicyIngress);
    const NO_FLOW: Self = Self::drop(Reason::NoFlow);
    const FLOW_RATE: Self = Self::drop(Reason::FlowRate);
    const CONNTRACK_FULL: Self = Self::drop(Reason::ConntrackFull);
    const FRAGMENT: Self = Self::drop(Reason::Fragment);

    /// The packet is dropped.
    pub const fn drop(reason: Reason) -> Self {
        Self(reason as u32 + 1)
    }

    /// The answer that a global function returned.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// What a global function returns.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// Why a packet is dropped that does not pass.
pub const fn reason(answer: Answer) -> Reason {
    match answer {
        Answer::TRUNCATED => Reason::Truncated,
        Answer::MALFORMED => Reason::Malformed,
        Answer::SOURCE_ROUTE => Reason::SourceRoute,
        Answer::POLICY_EGRESS => Reason::PolicyEgress,
        Answer::POLICY_INGRESS => Reason::PolicyIngress,
        Answer::NO_FLOW => Reason::NoFlow,
        Answer::FLOW_RATE => Reason::FlowRate,
        Answer::CONNTRACK_FULL => Reason::ConntrackFull,
        Answer::FRAGMENT => Reason::Fragment,
        _ => Reason::NoPolicy,
    }
}

/// [`PolicyDropKey::flags`](repoint_common::drops::PolicyDropKey::flags) of a packet that a policy denies; none: what drops
/// it is no policy.
pub const fn flags_of_denial(answer: Answer) -> Option<u32> {
    match answer {
        Answer::POLICY_EGRESS => Some(BY_EGRESS),
        Answer::POLICY_INGRESS => Some(0),
        _ => None,
    }
}

/// Judges the packet of which this CPU's memory has the subject.
pub fn judge(packet: &Packet) -> Answer {
    // SAFETY: the context is the program's.
    Answer(unsafe { judge_packet(packet.raw().cast()) })
}

/// Lines 3 and 7 to 14 of [`enforce`](crate::enforce). Returns an [`Answer`].
///
/// # Safety
///
/// `packet` is the program's context.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn judge_packet(packet: *mut __sk_buff) -> u32 {
    Handle::find().map_or(Answer::NO_POLICY, |mut work| decide(packet, &mut work)).0
}

#[inline(always)]
fn decide(packet: *mut __sk_buff, handle: &mut Handle) -> Answer {
    let work = handle.get();
    (work.policy, work.rule) = (0, 0);
    work.audited = Answer::PASS;
    let segment = &work.subject.segment;
    if segment.shape != Shape::FLOW {
        return ask(packet, false);
    }
    let flags = segment.tcp_flags;
    if flags & segment::SYN != 0 && flags & (segment::FIN | segment::RST) != 0 {
        return Answer::MALFORMED;
    }
    let is_opening = segment.is_opening() || segment.is_echo_request();
    // Before any rule is read: a flow judged by rules that change meanwhile is of the former generation.
    let generation = value(settings::POLICY_GENERATION);
    let now = coarse_now();
    let is_from_high = conntrack::write_key(&work.subject, &mut work.key);
    if let Some(found) = conntrack::find(work, is_from_high, now) {
        // A SYN that is no repetition opens a flow anew, or at the same time as the other end.
        if !(is_opening && (!found.is_from_opener() || found.is_closed())) {
            return follow(packet, handle, &found, generation, now);
        }
    }
    open(packet, handle, is_from_high, generation, now)
}

/// Lines 7 and 8.
#[inline(always)]
fn follow(
    packet: *mut __sk_buff,
    work: &mut Handle,
    found: &Found,
    generation: u32,
    now: u64,
) -> Answer {
    let is_former = found.generation != generation;
    let is_translated = work.get().subject.sender.flags & TRANSLATED != 0;
    if is_former || found.is_from_opener() && is_translated {
        let answer = ask(packet, !found.is_from_opener());
        if answer != Answer::PASS {
            return answer;
        }
    }
    let work = work.get();
    if is_former {
        conntrack::pass(work, found, generation, now);
        return Answer::PASS;
    }
    let Subject { segment, sender, receiver, .. } = &work.subject;
    // The last packet of the flow, if it is not lost behind this program. One that leaves the node may well be:
    // the other end repeats its FIN then.
    if found.has_both_fins() && segment.is_last_ack() && receiver.is_local() {
        let (opener, other) =
            if found.is_from_opener() { (sender, receiver) } else { (receiver, sender) };
        if conntrack::close(work) {
            budgets::give_back(opener, other, now);
        }
        return Answer::PASS;
    }
    conntrack::touch(found, segment, now);
    Answer::PASS
}

/// Lines 9 to 14.
#[inline(always)]
fn open(
    packet: *mut __sk_buff,
    work: &mut Handle,
    is_from_high: bool,
    generation: u32,
    now: u64,
) -> Answer {
    let Subject { segment, sender, receiver, .. } = &work.get().subject;
    let (is_opening, flags) = (segment.is_opening(), segment.tcp_flags);
    let is_running = segment.protocol == segment::TCP && !is_opening;
    if is_running && (flags & segment::SYN != 0 || is_young(sender) || is_young(receiver)) {
        return Answer::NO_FLOW;
    }
    let answer = ask(packet, false);
    if answer != Answer::PASS {
        if !is_running {
            return answer;
        }
        if ask(packet, true) != Answer::PASS {
            return Answer::NO_FLOW;
        }
        // It has no element, which the other end would pay for. The next packet of that end makes one.
        let work = work.get();
        (work.policy, work.rule, work.audited) = (0, 0, Answer::PASS);
        return Answer::PASS;
    }
    if flags & segment::RST != 0 {
        // The flow ends with it.
        return Answer::PASS;
    }
    let work = work.get();
    let Subject { sender, receiver, .. } = &work.subject;
    if !budgets::spend(sender, receiver, now) {
        return Answer::FLOW_RATE;
    }
    let new = New { is_from_high, is_running, generation, now };
    if !conntrack::open(work, &new) && is_opening {
        return Answer::CONNTRACK_FULL;
    }
    Answer::PASS
}

/// Whether an end's slot was given to its user a short time ago.
fn is_young(end: &End) -> bool {
    // SAFETY: takes nothing.
    end.is_enforced() && unsafe { bpf_ktime_get_boot_ns() } < end.epoch + YOUNG * SECOND
}

/// Whether the policies of both ends let the flow be opened by the packet's sender, or by its receiver.
#[inline(always)]
fn ask(packet: *mut __sk_buff, by_receiver: bool) -> Answer {
    let by_receiver = u32::from(by_receiver);
    // SAFETY: the context is the program's.
    let egress = ask_end(unsafe { name_peer(packet, by_receiver, 1) }, 1);
    if egress != Answer::PASS {
        return egress;
    }
    // SAFETY: as above.
    ask_end(unsafe { name_peer(packet, by_receiver, 0) }, 0)
}

/// The answer of the policy that [`name_peer`] returned.
#[inline(always)]
fn ask_end(number: u32, is_egress: u32) -> Answer {
    match number {
        0 => Answer::PASS,
        NO_POLICY => Answer::NO_POLICY,
        number => Answer(ask_policy(number, is_egress)),
    }
}

/// [`name_peer`]: a policy is to be asked, and is not there.
const NO_POLICY: u32 = u32::MAX;

/// Asks a policy about the packet, whose peer [`name_peer`] has written. Returns an [`Answer`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ask_policy(number: u32, is_egress: u32) -> u32 {
    let ask = |mut work: Handle| ask_number(work.get(), number, is_egress != 0);
    Handle::find().map_or(Answer::NO_POLICY, ask).0
}

/// Number of the policy that an end has, if it has one and that is asked; else 0, or [`NO_POLICY`].
#[inline(always)]
fn policy_of(work: &Work, by_receiver: bool, is_egress: bool) -> u32 {
    let Subject { sender, receiver, .. } = &work.subject;
    let own = if by_receiver == is_egress { receiver } else { sender };
    // The answer of a translated address: who opened the flow has seen that, and the other end's own answer, which
    // the host stack translated, was judged when it was sent.
    let is_answer = by_receiver && sender.flags & TRANSLATED != 0;
    if !own.is_enforced() || is_answer && !is_egress {
        return 0;
    }
    let Some((egress, ingress)) = policies::numbers(own.identity) else { return NO_POLICY };
    if is_egress { egress } else { ingress }
}

/// Writes what rules are asked about the packet. Returns the number of the policy that is asked, of the egress of the
/// end that opens the flow, or of the ingress of the other; 0: none is, [`NO_POLICY`]: it is not there.
///
/// # Safety
///
/// As for [`judge_packet`].
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn name_peer(packet: *mut __sk_buff, by_receiver: u32, is_egress: u32) -> u32 {
    let Some(mut work) = Handle::find() else { return NO_POLICY };
    let (by_receiver, is_egress) = (by_receiver != 0, is_egress != 0);
    let number = policy_of(work.get(), by_receiver, is_egress);
    if number != 0 && number != NO_POLICY {
        name_end(packet, work.get(), by_receiver, is_egress, number);
    }
    number
}

#[inline(always)]
fn name_end(
    packet: *mut __sk_buff,
    work: &mut Work,
    by_receiver: bool,
    is_egress: bool,
    number: u32,
) {
    let Work { subject, opening, query, network_v4, network_v6, asked, .. } = work;
    let (own, peer, address) = if by_receiver == is_egress {
        (&subject.receiver, &subject.sender, subject.source)
    } else {
        (&subject.sender, &subject.receiver, subject.destination)
    };
    *asked = own.identity;
    opening.tenant = peer.tenant;
    opening.own_tenant = own.tenant;
    opening.port = port(&subject.segment, by_receiver);
    opening.protocol = u32::from(subject.segment.protocol);
    let is_translated = by_receiver && subject.sender.flags & TRANSLATED != 0;
    opening.groups = [0; GROUP_WORDS];
    if peer.identity == 0 || is_translated {
        let asks_routes = is_translated || peer.flags & ASK_ROUTES != 0;
        name_network(packet, asks_routes, address, (opening, query), (network_v4, network_v6));
        return;
    }
    opening.identity = peer.identity;
    policies::copy_groups(peer.identity, opening);
    let asks_networks = |policy: &Policy| policy.flags & FLAG_NETWORKS != 0;
    if is_egress && policies::find_policy(number).is_some_and(asks_networks) {
        add_networks(address, opening, (network_v4, network_v6));
    }
}

#[inline(always)]
fn ask_number(work: &mut Work, number: u32, is_egress: bool) -> Answer {
    let Some(policy) = policies::find_policy(number) else { return Answer::NO_POLICY };
    let Said { says, rule, audited } = policies::ask(policy, &mut work.opening, is_egress);
    let denied = if is_egress { Answer::POLICY_EGRESS } else { Answer::POLICY_INGRESS };
    if audited != 0 {
        (work.audited, work.audited_identity) = (denied, work.asked);
        (work.audited_policy, work.audited_rule) = (number, audited);
    }
    if says == ALLOW {
        return Answer::PASS;
    }
    (work.policy, work.rule) = (number, rule);
    if says == NEEDS_PORT { Answer::FRAGMENT } else { denied }
}

/// Port, or type of ICMP, that rules ask for: of the packet, or of the one that it answers.
#[inline(always)]
fn port(segment: &Segment, by_receiver: bool) -> u32 {
    if segment.shape == Shape::BLIND {
        return BLIND;
    }
    match (segment.protocol, by_receiver) {
        (segment::ICMP | segment::ICMPV6, true) => {
            u32::from(segment::echo_request(segment.protocol))
        }
        (segment::ICMP | segment::ICMPV6, false) => u32::from(segment.icmp_type),
        (_, true) => u32::from(u16::from_be_bytes(segment.source_port)),
        (_, false) => u32::from(u16::from_be_bytes(segment.destination_port)),
    }
}

/// Writes what an end outside is for rules: the node, or what its longest prefix says.
#[inline(always)]
fn name_network(
    packet: *mut __sk_buff,
    asks_routes: bool,
    AddressV6 { octets }: AddressV6,
    (opening, query): (&mut Opening, &mut Query),
    (v4, v6): (&mut Key<[u8; 4]>, &mut Key<[u8; 16]>),
) {
    let is_v4 = is_v4(octets);
    opening.identity = WORLD;
    if asks_routes {
        let (words, _) = octets.as_chunks::<4>();
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| u32::from_ne_bytes(words[at]));
        let (family, destination) =
            if is_v4 { (fib::IPV4, [d, 0, 0, 0]) } else { (fib::IPV6, [a, b, c, d]) };
        query.ask(family, [0; 4], destination);
        if !fib::forwards(packet, query) {
            opening.identity = HOST;
            policies::copy_groups(HOST, opening);
        }
    }
    if is_v4 {
        let [.., a, b, c, d] = octets;
        *v4 = Key::new(32, [a, b, c, d]);
        policies::copy_network_v4(v4, opening);
    } else {
        *v6 = Key::new(128, octets);
        policies::copy_network_v6(v6, opening);
    }
}

/// Adds what the prefixes of a slot's address are for rules.
#[inline(always)]
fn add_networks(
    AddressV6 { octets }: AddressV6,
    opening: &mut Opening,
    (v4, v6): (&mut Key<[u8; 4]>, &mut Key<[u8; 16]>),
) {
    if is_v4(octets) {
        let [.., a, b, c, d] = octets;
        *v4 = Key::new(32, [a, b, c, d]);
        policies::add_network_v4(v4, opening);
    } else {
        *v6 = Key::new(128, octets);
        policies::add_network_v6(v6, opening);
    }
}

/// Whether an address is an IPv4-mapped one.
#[inline(always)]
const fn is_v4(octets: [u8; 16]) -> bool {
    u128::from_be_bytes(octets) >> 32 == 0xffff
}

/// Time, in nanoseconds of `CLOCK_MONOTONIC`, as of the last tick of the kernel's clock.
pub fn coarse_now() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_coarse_ns() }
}
