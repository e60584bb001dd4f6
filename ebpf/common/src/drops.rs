//! Maps `drops` and `policy_drops`: dropped packets by slot and reason, and by identity and rule.

/// Name of the map from [`DropKey`] to [`Counter`](crate::counter::Counter).
pub const MAP: &str = "drops";
/// Most elements; a new one then takes the place of one that has not counted for long.
pub const MAX_ENTRIES: usize = 16_384;

/// Key of `drops`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DropKey {
    /// Number of the slot in the database; 0: the interface has no slot.
    pub slot: u64,
    /// Interface index of the host-side veth where the packet was dropped.
    pub ifindex: u32,
    /// Number of a [`Reason`](crate::counter::Reason) that is a drop.
    pub reason: u32,
}

/// Name of the map from [`PolicyDropKey`] to [`Counter`](crate::counter::Counter).
pub const MAP_BY_POLICY: &str = "policy_drops";

/// [`PolicyDropKey::flags`]: egress rules said so, else ingress rules.
pub const BY_EGRESS: u32 = 1;
/// [`PolicyDropKey::flags`]: the packet passed, and a policy in audit mode would have dropped it.
pub const BY_AUDIT: u32 = 2;

/// Key of `policy_drops`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyDropKey {
    /// The identity whose policies were asked.
    pub identity: u32,
    /// Number of the rule that denied; 0: no rule allowed.
    pub rule: u32,
    /// [`BY_EGRESS`] and [`BY_AUDIT`], or'ed.
    pub flags: u32,
}

const _: () = {
    assert!(size_of::<PolicyDropKey>() == 12);
    assert!(core::mem::offset_of!(PolicyDropKey, rule) == 4);
    assert!(core::mem::offset_of!(PolicyDropKey, flags) == 8);
    assert!(size_of::<DropKey>() == 16);
    assert!(core::mem::offset_of!(DropKey, ifindex) == 8);
    assert!(core::mem::offset_of!(DropKey, reason) == 12);
};

// SAFETY: `repr(C)`, no padding the compiler adds (size asserted above), valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for DropKey {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for PolicyDropKey {}
