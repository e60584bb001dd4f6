//! Maps `conntrack_tcp`, `conntrack_other`, `fragments` and `flow_budgets`: flows that policies have judged.
//!
//! A flow has one element for both directions. It counts only while the epochs of both ends are those of the
//! slots that have the addresses now: parking a slot ends all its flows, and nothing needs to remove them. With
//! another [`POLICY_GENERATION`](crate::settings::POLICY_GENERATION) the next packet is judged again. Nothing
//! removes elements: the least recently used makes room.

use crate::endpoint::AddressV6;

/// Name of the map from [`ConnectionKey`] to [`Connection`] for TCP.
pub const MAP_TCP: &str = "conntrack_tcp";
/// Name of the map from [`ConnectionKey`] to [`Connection`] for other protocols.
pub const MAP_OTHER: &str = "conntrack_other";
/// Most elements of each.
pub const MAX_ENTRIES: usize = 65_536;

/// Name of the map from [`FragmentKey`] to [`Fragment`].
pub const MAP_FRAGMENTS: &str = "fragments";
/// Most elements.
pub const MAX_FRAGMENTS: usize = 8192;

/// Name of the map from [`BudgetKey`] to the time until which its flows are paid for, a `u64` in nanoseconds of
/// `CLOCK_MONOTONIC`.
pub const MAP_BUDGETS: &str = "flow_budgets";
/// Most elements.
pub const MAX_BUDGETS: usize = 131_072;

/// Flows that one slot opens in a second, on average.
pub const SLOT_PER_SECOND: u64 = MAX_ENTRIES as u64 / 100;
/// Flows that the slots of one tenant open in a second, on average.
pub const TENANT_PER_SECOND: u64 = MAX_ENTRIES as u64 / 100;
/// Flows that one slot, or a tenant's slots, open at once.
pub const BURST: u64 = MAX_ENTRIES as u64 / 20;
/// Fragmented packets that one slot sends or receives in a second, on average, and at once.
pub const FRAGMENTS_PER_SECOND: u64 = MAX_FRAGMENTS as u64 / 8;

/// Key of `conntrack_tcp` and `conntrack_other`: the two ends, the lower one first. Ends are compared by
/// address, then by port, as octets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// Address of the lower end, network byte order; IPv4 as an IPv4-mapped address.
    pub low: AddressV6,
    /// Address of the higher end.
    pub high: AddressV6,
    /// Port of the lower end, network byte order; for ICMP echo the identifier; 0 without ports.
    pub low_port: [u8; 2],
    /// Port of the higher end, likewise.
    pub high_port: [u8; 2],
    /// Protocol of IP.
    pub protocol: u8,
    /// Zero.
    pub padding: [u8; 3],
}

/// A flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// When its last packet was seen, to a second, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_seen: u64,
    /// Epoch of the slot that has the lower end's address; 0: none has.
    pub low_epoch: u64,
    /// Epoch of the slot that has the higher end's address; 0: none has.
    pub high_epoch: u64,
    /// `FLAG_…`, or'ed.
    pub flags: u64,
    /// The generation of policies that let it pass.
    pub generation: u32,
    /// Zero.
    pub padding: u32,
}

/// [`Connection::flags`]: the higher end sent the first packet, rather than the lower one.
pub const FLAG_OPENED_BY_HIGH: u64 = 1;
/// [`Connection::flags`]: the other end has answered.
pub const FLAG_REPLIED: u64 = 2;
/// [`Connection::flags`]: the lower end has sent a FIN of TCP.
pub const FLAG_FIN_LOW: u64 = 4;
/// [`Connection::flags`]: the higher end has sent a FIN of TCP.
pub const FLAG_FIN_HIGH: u64 = 8;
/// [`Connection::flags`]: the last packet was an RST of TCP.
pub const FLAG_RESET: u64 = 16;

/// Seconds after which a flow ends without a packet: TCP without an answer.
pub const TIMEOUT_TCP_OPENED: u64 = 20;
/// The same: TCP.
pub const TIMEOUT_TCP: u64 = 3600;
/// The same: TCP after a FIN of both ends.
pub const TIMEOUT_TCP_CLOSED: u64 = 30;
/// The same: TCP after an RST.
pub const TIMEOUT_TCP_RESET: u64 = 10;
/// The same: UDP without an answer.
pub const TIMEOUT_UDP_OPENED: u64 = 30;
/// The same: UDP.
pub const TIMEOUT_UDP: u64 = 120;
/// The same: ICMP echo.
pub const TIMEOUT_ICMP: u64 = 5;
/// The same: other protocols.
pub const TIMEOUT_OTHER: u64 = 600;

/// Seconds after a slot's epoch in which TCP that is no opening SYN needs a flow: peers of the address's former
/// user may still send.
pub const YOUNG: u64 = 60;

/// Key of `fragments`: what the fragments of a packet share (RFC 791, RFC 8200).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Source address, network byte order; IPv4 as an IPv4-mapped address.
    pub source: AddressV6,
    /// Destination address, likewise.
    pub destination: AddressV6,
    /// Identification, network byte order; IPv4's two octets are the last.
    pub identification: [u8; 4],
    /// Protocol of IPv4; 0 for IPv6, whose fragments do not all show it.
    pub protocol: u8,
    /// Zero.
    pub padding: [u8; 3],
}

/// What the first fragment of a packet shows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// When it was seen, in nanoseconds of `CLOCK_MONOTONIC`.
    pub seen: u64,
    /// Source port, network byte order.
    pub source_port: [u8; 2],
    /// Destination port, network byte order.
    pub destination_port: [u8; 2],
    /// Protocol of IP, behind extension headers.
    pub protocol: u8,
    /// Type of ICMP.
    pub icmp_type: u8,
    /// Zero.
    pub padding: [u8; 2],
}

/// Seconds in which the other fragments must follow the first.
pub const TIMEOUT_FRAGMENT: u64 = 30;

/// Key of `flow_budgets`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BudgetKey {
    /// `BUDGET_…`.
    pub kind: u32,
    /// Interface index of the slot's host-side veth, or number of the tenant.
    pub number: u32,
}

/// [`BudgetKey::kind`]: flows that one slot opens.
pub const BUDGET_SLOT: u32 = 0;
/// [`BudgetKey::kind`]: flows that a tenant's slots open.
pub const BUDGET_TENANT: u32 = 1;
/// [`BudgetKey::kind`]: flows that others, outside, open to one slot.
pub const BUDGET_RECEIVED: u32 = 2;
/// [`BudgetKey::kind`]: fragmented packets of one slot.
pub const BUDGET_FRAGMENTS: u32 = 3;

const _: () = {
    assert!(size_of::<ConnectionKey>() == 40);
    assert!(size_of::<Connection>() == 40);
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<Fragment>() == 16);
    assert!(size_of::<BudgetKey>() == 8);
};

// SAFETY: `repr(C)`, no padding the compiler adds (sizes asserted above), valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ConnectionKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Connection {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for FragmentKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Fragment {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for BudgetKey {}
