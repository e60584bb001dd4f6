//! Maps `events`, `event_head` and `event_budgets`: records of dropped packets.

use core::arch::asm;

use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::{Array, PerCpuArray},
    helpers::bpf_ktime_get_coarse_ns,
    macros::btf_map,
    programs::TcContext,
};
use repoint_common::{
    counter::{REASONS, Reason},
    event::{
        AUDIT, BEING_WRITTEN, BURST, Budget, DROP, Event, FROM_CONTAINER, HEADER_FRAME, HEADER_IP,
        HEADER_TRANSPORT, PER_SECOND, RING,
    },
};

use crate::{
    ethernet, interfaces,
    ip::{self, Ip},
    ipv4, ipv6,
    packet::Packet,
    transport,
    work::Handle,
};

#[btf_map(name = "events")]
static EVENTS: Array<Event, RING> = Array::new();

#[btf_map(name = "event_head")]
static HEAD: Array<u64, 1> = Array::new();

#[btf_map(name = "event_budgets")]
static BUDGETS: PerCpuArray<Budget, REASONS> = PerCpuArray::new();

/// Time in which a CPU earns one record of a reason, in nanoseconds.
const COST: u64 = 1_000_000_000 / PER_SECOND;
/// Time of which the records can be written at once, in nanoseconds.
const CREDIT: u64 = COST * BURST;

/// Writes the record of a packet that is dropped, if this CPU may; `slot` is 0 where the interface has
/// none.
pub fn write(packet: &Packet, slot: u64, reason: Reason) {
    // SAFETY: the context is the program's.
    unsafe { write_event(packet.raw().cast(), slot, reason as u32, packet.direction(), DROP) };
}

/// Writes the record of a packet that a policy in audit mode would drop.
pub fn audit(packet: &Packet, reason: Reason) {
    let slot = interfaces::slot(packet.ifindex());
    // SAFETY: the context is the program's.
    unsafe { write_event(packet.raw().cast(), slot, reason as u32, packet.direction(), AUDIT) };
}

/// Writes a record. A global function: the verifier looks at it once, and not at every call.
///
/// # Safety
///
/// `context` is the program's.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn write_event(
    context: *mut __sk_buff,
    slot: u64,
    reason: u32,
    direction: u8,
    kind: u8,
) -> u32 {
    record(&Packet::new(TcContext::new(context), direction), slot, reason, kind);
    0
}

#[inline(always)]
fn record(packet: &Packet, slot: u64, reason: u32, kind: u8) {
    let direction = packet.direction();
    let Some(time) = spend(reason) else { return };
    let Some(head) = HEAD.get_ptr_mut(0) else { return };
    // SAFETY: the element is one aligned u64 that programs change in this way only.
    let number = unsafe { fetch_and_add(head, 1) };
    // The mask keeps the number far below what u32 holds.
    #[expect(clippy::cast_possible_truncation, reason = "as above")]
    let place = (number & (RING as u64 - 1)) as u32;
    let Some(event) = EVENTS.get_ptr_mut(place) else { return };
    // SAFETY: the element's memory stays an `Event` while the program runs, aligned to 8 bytes. Only the CPU
    // that has set `sequence` writes the other fields.
    let event = unsafe { &mut *event };
    // SAFETY: the field is an aligned u64 of the element.
    let former = unsafe { exchange(&raw mut event.sequence, BEING_WRITTEN) };
    if former == BEING_WRITTEN {
        // The ring has come round while another CPU writes here. That one ends the record.
        return;
    }
    if former > number {
        // The ring has come round, and a later record is complete.
        // SAFETY: as above.
        unsafe { exchange(&raw mut event.sequence, former) };
        return;
    }
    event.time = time;
    event.slot = slot;
    event.ifindex = packet.ifindex();
    event.length = packet.len();
    event.identity = interfaces::identity(packet.ifindex());
    #[expect(clippy::cast_possible_truncation, reason = "reasons are few, as the layout asserts")]
    let word = reason as u8;
    event.reason = word;
    event.direction = direction;
    event.kind = kind;
    (event.policy, event.rule) = (0, 0);
    if let Some(mut work) = Handle::find() {
        (event.policy, event.rule) = (work.get().policy, work.get().rule);
    }
    event.peer =
        if direction == FROM_CONTAINER { 0 } else { interfaces::identity(packet.came_by()) };
    describe(packet, event);
    // SAFETY: as above.
    unsafe { exchange(&raw mut event.sequence, number + 1) };
}

/// The time, if this CPU may write a record of the reason.
fn spend(reason: u32) -> Option<u64> {
    let budget = BUDGETS.get_ptr_mut(reason)?;
    // SAFETY: the element is this CPU's own, and no other tc program interrupts this one.
    let budget = unsafe { &mut *budget };
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let paid = if budget.paid > now { budget.paid } else { now } + COST;
    if paid > now + CREDIT {
        budget.suppressed += 1;
        return None;
    }
    budget.paid = paid;
    Some(now)
}

/// Records the headers, right or wrong. The element has those of an earlier packet until then.
fn describe(packet: &Packet, event: &mut Event) {
    event.headers = 0;
    event.source_mac = [0; 6];
    event.destination_mac = [0; 6];
    event.ethertype = 0;
    event.source = [0; 16];
    event.destination = [0; 16];
    event.protocol = 0;
    event.source_port = 0;
    event.destination_port = 0;
    event.tcp_flags = 0;
    let Ok(frame) = ethernet::Header::load(packet) else { return };
    event.headers = HEADER_FRAME;
    event.source_mac = frame.source;
    event.destination_mac = frame.destination;
    event.ethertype = frame.ethertype();
    match event.ethertype {
        ethernet::ETHERTYPE_IPV4 => describe_ip::<ipv4::Header>(packet, event),
        ethernet::ETHERTYPE_IPV6 => describe_ip::<ipv6::Header>(packet, event),
        _ => {}
    }
}

fn describe_ip<H: Ip>(packet: &Packet, event: &mut Event) {
    let Ok(header) = packet.load::<H>(ip::OFFSET) else { return };
    event.headers |= HEADER_IP;
    event.source = H::mapped(header.source());
    event.destination = H::mapped(header.destination());
    event.protocol = header.protocol();
    if event.direction == FROM_CONTAINER
        && let Some(endpoint) = H::endpoint(header.destination())
    {
        event.peer = endpoint.identity;
    }
    if let Some(payload) = header.payload(packet)
        && let Some(shown) = transport::shown(packet, payload)
    {
        event.headers |= HEADER_TRANSPORT;
        event.source_port = shown.source;
        event.destination_port = shown.destination;
        event.tcp_flags = shown.tcp_flags;
    }
}

/// `BPF_ATOMIC | BPF_ADD | BPF_FETCH`: adds, and gives what was there before. A full barrier.
///
/// # Safety
///
/// `number` must point to an aligned u64 of a map's element.
unsafe fn fetch_and_add(number: *mut u64, more: u64) -> u64 {
    let before;
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        asm!(
            "{more} = atomic_fetch_add((u64 *)({number} + 0), {more})",
            number = in(reg) number,
            more = inout(reg) more => before,
        );
    }
    before
}

/// `BPF_ATOMIC | BPF_XCHG`: writes, and gives what was there before. A full barrier: no write before it is
/// seen later, none after it earlier.
///
/// # Safety
///
/// As for [`fetch_and_add`].
unsafe fn exchange(number: *mut u64, value: u64) -> u64 {
    let before;
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        asm!(
            "{value} = xchg_64({number} + 0, {value})",
            number = in(reg) number,
            value = inout(reg) value => before,
        );
    }
    before
}
