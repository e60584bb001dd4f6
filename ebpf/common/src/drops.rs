//! Map `drops`: dropped packets by slot and reason.

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

const _: () = {
    assert!(size_of::<DropKey>() == 16);
    assert!(core::mem::offset_of!(DropKey, ifindex) == 8);
    assert!(core::mem::offset_of!(DropKey, reason) == 12);
};

// SAFETY: `repr(C)`, no padding the compiler adds (size asserted above), valid for any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for DropKey {}
