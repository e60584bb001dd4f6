//! Maps `events`, `event_head` and `event_budgets`: records of single packets that were dropped, or would be
//! if their policy was enforced.
//!
//! `events` is a ring in an array. A program takes the next number from `event_head` and writes its record
//! at that number modulo [`RING`], over the oldest. Readers take nothing out: any number of them read the
//! same records, each from where it likes, and the last ones are there for a reader that comes later. A
//! reader knows by the numbers how many it missed.
//!
//! Each CPU writes [`PER_SECOND`] records of a reason a second, after [`BURST`] at once: a flood of one
//! reason hides no other. `event_budgets` counts what was not written for that.

use crate::{counter::Reason, mac::Mac};

/// Name of the array of [`Event`].
pub const MAP: &str = "events";
/// Name of the array whose one element is the number of records that were ever written, a `u64`.
pub const MAP_HEAD: &str = "event_head";
/// Name of the array from the number of a [`Reason`] to [`Budget`], per CPU.
pub const MAP_BUDGETS: &str = "event_budgets";

/// Records that `events` holds; a power of two.
pub const RING: usize = 8192;
/// Records of one reason that one CPU writes in a second.
pub const PER_SECOND: u64 = 100;
/// Records of one reason that one CPU writes at once after 10 s without one.
pub const BURST: u64 = 1000;

/// [`Event::sequence`] while a program writes the other fields.
pub const BEING_WRITTEN: u64 = u64::MAX;

/// [`Event::headers`]: the Ethernet header.
pub const HEADER_FRAME: u8 = 1;
/// [`Event::headers`]: an IP header, right or wrong.
pub const HEADER_IP: u8 = 2;
/// [`Event::headers`]: ports, or type and code of ICMP, and the flags of TCP.
pub const HEADER_TRANSPORT: u8 = 4;

/// [`Event::direction`]: what a container sent, at `from_container`.
pub const FROM_CONTAINER: u8 = 0;
/// [`Event::direction`]: what the host stack sent to a container, at `to_container`.
pub const TO_CONTAINER: u8 = 1;

/// [`Event::kind`]: the packet was dropped.
pub const DROP: u8 = 0;
/// [`Event::kind`]: the packet passed, because the policy that denies it is in audit mode.
pub const AUDIT: u8 = 1;

/// A dropped packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// One more than the event's number; [`BEING_WRITTEN`]; or another value: the element has another event.
    pub sequence: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`, as of the last tick of the kernel's clock.
    pub time: u64,
    /// Number of the slot in the database; 0: the interface has no slot.
    pub slot: u64,
    /// Interface index of the host-side veth where the packet was dropped.
    pub ifindex: u32,
    /// Bytes of the packet, from the Ethernet header on.
    pub length: u32,
    /// Identity of the slot's function; 0: the slot is parked, or there is none.
    pub identity: u32,
    /// Identity of the slot at the other end; 0: it is parked, or no slot of this node.
    pub peer: u32,
    /// Source address, network byte order; IPv4 as an IPv4-mapped address; zero without [`HEADER_IP`].
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
    /// Source port of TCP, UDP or SCTP, type of ICMP; 0 without [`HEADER_TRANSPORT`].
    pub source_port: u16,
    /// Destination port of TCP, UDP or SCTP, code of ICMP; 0 without [`HEADER_TRANSPORT`].
    pub destination_port: u16,
    /// Source of the Ethernet frame, zero without [`HEADER_FRAME`].
    pub source_mac: Mac,
    /// Destination of the Ethernet frame, likewise.
    pub destination_mac: Mac,
    /// Protocol of the Ethernet frame (`ETH_P_…`), 0 without [`HEADER_FRAME`].
    pub ethertype: u16,
    /// Protocol of IP (`IPPROTO_…`): IPv6's next header. Zero without [`HEADER_IP`].
    pub protocol: u8,
    /// Flags of TCP, from CWR, 128, to FIN, 1; 0 without [`HEADER_TRANSPORT`].
    pub tcp_flags: u8,
    /// Number of a [`Reason`] that is a drop.
    pub reason: u8,
    /// [`FROM_CONTAINER`] or [`TO_CONTAINER`].
    pub direction: u8,
    /// `HEADER_…`, or'ed: what the packet has of headers.
    pub headers: u8,
    /// [`DROP`] or [`AUDIT`].
    pub kind: u8,
    /// Number of the policy's rule that decided; 0: its default did, or no policy.
    pub rule: u32,
    /// Number of the policy; 0: none decided.
    pub policy: u32,
}

/// What one CPU may write of one reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// When the records that were written are paid for, in nanoseconds of `CLOCK_MONOTONIC`.
    pub paid: u64,
    /// Packets that have no record, because the CPU had written its share.
    pub suppressed: u64,
}

const _: () = {
    assert!(RING.is_power_of_two());
    assert!(Reason::ALL.len() <= u8::MAX as usize);
    assert!(size_of::<Event>() == 104);
    assert!(core::mem::offset_of!(Event, ifindex) == 24);
    assert!(core::mem::offset_of!(Event, source) == 40);
    assert!(core::mem::offset_of!(Event, source_port) == 72);
    assert!(core::mem::offset_of!(Event, source_mac) == 76);
    assert!(core::mem::offset_of!(Event, ethertype) == 88);
    assert!(core::mem::offset_of!(Event, protocol) == 90);
    assert!(size_of::<Budget>() == 16);
};

// SAFETY: `repr(C)`, no padding the compiler adds (sizes asserted above), valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Event {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Budget {}
