//! Maps `conntrack_tcp` and `conntrack_other`: flows that policies let pass.

use core::arch::asm;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_EXIST},
    btf_maps::LruHashMap,
    macros::btf_map,
};
use repoint_common::{
    conntrack::{
        Connection, ConnectionKey, FLAG_FIN_HIGH, FLAG_FIN_LOW, FLAG_OPENED_BY_HIGH, FLAG_REPLIED,
        FLAG_RESET, MAX_ENTRIES, TIMEOUT_ICMP, TIMEOUT_OTHER, TIMEOUT_TCP, TIMEOUT_TCP_CLOSED,
        TIMEOUT_TCP_OPENED, TIMEOUT_TCP_RESET, TIMEOUT_UDP, TIMEOUT_UDP_OPENED,
    },
    endpoint::AddressV6,
    settings,
};

use crate::{
    judge::coarse_now,
    segment::{self, Segment},
    settings::value,
    subject::Subject,
    work::Work,
};

#[btf_map(name = "conntrack_tcp")]
static TCP: LruHashMap<ConnectionKey, Connection, MAX_ENTRIES> = LruHashMap::new();

#[btf_map(name = "conntrack_other")]
static OTHER: LruHashMap<ConnectionKey, Connection, MAX_ENTRIES> = LruHashMap::new();

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;
const BOTH_FINS: u64 = FLAG_FIN_LOW | FLAG_FIN_HIGH;

/// A flow that is there and counts.
pub struct Found {
    element: *mut Connection,
    is_from_high: bool,
    last_seen: u64,
    flags: u64,
    /// The generation of policies that it passed.
    pub generation: u32,
}

/// How a flow begins.
pub struct New {
    /// Whether the packet's sender is the higher end.
    pub is_from_high: bool,
    /// Whether it ran before: its element was lost.
    pub is_running: bool,
    pub generation: u32,
    pub now: u64,
}

/// Writes the key of a packet's flow. Whether the packet's sender is the higher end.
#[inline(always)]
pub fn write_key(subject: &Subject, key: &mut ConnectionKey) -> bool {
    let Subject { source, destination, segment, .. } = subject;
    let (from, to) = (number(*source), number(*destination));
    let (from_port, to_port) = (segment.source_port, segment.destination_port);
    let is_from_high = if from == to {
        u16::from_be_bytes(from_port) > u16::from_be_bytes(to_port)
    } else {
        from > to
    };
    if is_from_high {
        (key.low, key.high) = (*destination, *source);
        (key.low_port, key.high_port) = (to_port, from_port);
    } else {
        (key.low, key.high) = (*source, *destination);
        (key.low_port, key.high_port) = (from_port, to_port);
    }
    key.protocol = segment.protocol;
    key.padding = [0; 3];
    is_from_high
}

/// Whether the flow of the packet inside `work`'s is there and passed the present policies.
#[inline(always)]
pub fn is_known(work: &mut Work) -> bool {
    let is_from_high = write_key(&work.about, &mut work.key);
    let found = look_up(&work.key, &work.about, is_from_high, coarse_now());
    let generation = value(settings::POLICY_GENERATION);
    found.is_some_and(|found| found.generation == generation)
}

/// The flow of `work`'s packet, if it is there and counts. The key is written already.
#[inline(always)]
pub fn find(work: &Work, is_from_high: bool, now: u64) -> Option<Found> {
    look_up(&work.key, &work.subject, is_from_high, now)
}

#[inline(always)]
fn look_up(key: &ConnectionKey, subject: &Subject, is_from_high: bool, now: u64) -> Option<Found> {
    let element =
        if key.protocol == segment::TCP { TCP.get_ptr_mut(key) } else { OTHER.get_ptr_mut(key) }?;
    // SAFETY: the element's memory stays a `Connection` while the program runs. The kernel may give it to another
    // key meanwhile, for one packet.
    let connection = unsafe { &*element };
    let (low, high) = epochs(subject, is_from_high);
    let Connection { last_seen, flags, generation, .. } = *connection;
    let ends = last_seen + timeout(key.protocol, flags) * SECOND;
    if connection.low_epoch != low || connection.high_epoch != high || now >= ends {
        return None;
    }
    Some(Found { element, is_from_high, last_seen, flags, generation })
}

/// Records the flow that the sender of `work`'s packet opens, or has opened; whether there was room.
#[inline(always)]
pub fn open(work: &mut Work, new: &New) -> bool {
    let opened = if new.is_from_high { FLAG_OPENED_BY_HIGH } else { 0 };
    let replied = if new.is_running { FLAG_REPLIED } else { 0 };
    let is_fin = work.subject.segment.tcp_flags & segment::FIN != 0;
    let fin = if is_fin { fin_of(new.is_from_high) } else { 0 };
    write(work, new.is_from_high, opened | replied | fin, (new.generation, new.now));
    insert(work, BPF_ANY) || insert(work, BPF_ANY)
}

/// Records a packet of a flow that passed the policies of another generation than before. The element is replaced:
/// by now its memory may be another flow's.
#[inline(always)]
pub fn pass(work: &mut Work, found: &Found, generation: u32, now: u64) {
    let flags = found.flags_after(&work.subject.segment);
    write(work, found.is_from_high, flags, (generation, now));
    // A flow that is gone meanwhile is judged anew.
    insert(work, BPF_EXIST);
}

/// Writes the element of the flow of `work`'s packet, to be inserted.
#[inline(always)]
fn write(work: &mut Work, is_from_high: bool, flags: u64, (generation, now): (u32, u64)) {
    let (low_epoch, high_epoch) = epochs(&work.subject, is_from_high);
    let connection = &mut work.connection;
    connection.last_seen = now;
    connection.low_epoch = low_epoch;
    connection.high_epoch = high_epoch;
    connection.flags = flags;
    connection.generation = generation;
    connection.padding = 0;
}

/// Records a packet of a flow.
#[inline(always)]
pub fn touch(found: &Found, segment: &Segment, now: u64) {
    let flags = found.flags_after(segment);
    // SAFETY: a field of the element, whose memory stays.
    let field = unsafe { &raw mut (*found.element).flags };
    if flags & !found.flags != 0 {
        // SAFETY: every program changes the field by such operations only.
        unsafe { add_flags(field, flags) };
    }
    if found.flags & !flags != 0 {
        // SAFETY: as above.
        unsafe { clear_flags(field, FLAG_RESET) };
    }
    // Once a second: other CPUs read the element.
    if now > found.last_seen + SECOND {
        // SAFETY: an aligned word of the element, whose memory stays.
        unsafe { (&raw mut (*found.element).last_seen).write_volatile(now) };
    }
}

/// Forgets a flow of TCP that has ended; whether it was this program that did.
#[inline(always)]
pub fn close(work: &Work) -> bool {
    let key = &work.key;
    TCP.remove(key).is_ok()
}

#[inline(always)]
fn insert(work: &Work, flags: u32) -> bool {
    let (key, connection, flags) = (&work.key, &work.connection, u64::from(flags));
    if key.protocol == segment::TCP {
        TCP.insert(key, connection, flags).is_ok()
    } else {
        OTHER.insert(key, connection, flags).is_ok()
    }
}

/// Epochs of the lower and the higher end.
#[inline(always)]
fn epochs(subject: &Subject, is_from_high: bool) -> (u64, u64) {
    let (from, to) = (subject.sender.epoch, subject.receiver.epoch);
    if is_from_high { (to, from) } else { (from, to) }
}

const fn fin_of(is_high: bool) -> u64 {
    if is_high { FLAG_FIN_HIGH } else { FLAG_FIN_LOW }
}

impl Found {
    /// Whether the end that opened the flow sends the packet.
    pub const fn is_from_opener(&self) -> bool {
        self.is_from_high == (self.flags & FLAG_OPENED_BY_HIGH != 0)
    }

    /// The flags after another packet.
    #[inline(always)]
    fn flags_after(&self, segment: &Segment) -> u64 {
        let mut flags = self.flags;
        if !self.is_from_opener() {
            flags |= FLAG_REPLIED;
        }
        if segment.protocol == segment::TCP {
            if segment.tcp_flags & segment::RST != 0 {
                flags |= FLAG_RESET;
            } else {
                // A forged RST does not end a flow whose ends go on.
                flags &= !FLAG_RESET;
            }
            if segment.tcp_flags & segment::FIN != 0 {
                flags |= fin_of(self.is_from_high);
            }
        }
        flags
    }

    /// Whether both ends have closed the flow, or one has reset it.
    pub const fn is_closed(&self) -> bool {
        self.has_both_fins() || self.flags & FLAG_RESET != 0
    }

    /// Whether both ends have closed the flow.
    pub const fn has_both_fins(&self) -> bool {
        self.flags & BOTH_FINS == BOTH_FINS
    }
}

/// Seconds after which a flow without packets ends.
const fn timeout(protocol: u8, flags: u64) -> u64 {
    let replied = flags & FLAG_REPLIED != 0;
    match protocol {
        segment::TCP if flags & FLAG_RESET != 0 => TIMEOUT_TCP_RESET,
        segment::TCP if flags & BOTH_FINS == BOTH_FINS => TIMEOUT_TCP_CLOSED,
        segment::TCP if replied => TIMEOUT_TCP,
        segment::TCP => TIMEOUT_TCP_OPENED,
        segment::UDP if replied => TIMEOUT_UDP,
        segment::UDP => TIMEOUT_UDP_OPENED,
        segment::ICMP | segment::ICMPV6 => TIMEOUT_ICMP,
        _ => TIMEOUT_OTHER,
    }
}

/// An address as a number, which compares as its octets do.
const fn number(AddressV6 { octets }: AddressV6) -> u128 {
    u128::from_be_bytes(octets)
}

/// `BPF_ATOMIC | BPF_OR`.
///
/// # Safety
///
/// `number` must point to an aligned u64 of a map's element.
unsafe fn add_flags(number: *mut u64, flags: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        asm!("lock *(u64 *)({number} + 0) |= {flags}", number = in(reg) number, flags = in(reg) flags);
    }
}

/// `BPF_ATOMIC | BPF_AND`.
///
/// # Safety
///
/// As for [`add_flags`].
unsafe fn clear_flags(number: *mut u64, flags: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        asm!("lock *(u64 *)({number} + 0) &= {kept}", number = in(reg) number, kept = in(reg) !flags);
    }
}
