//! Slots as kernel objects: building one from a configuration, inspecting it, telling what
//! was changed in it, taking it down.

mod builder;
mod capture;
mod container_end;
mod entries;
mod fingerprint;
mod host_end;
mod inspect;
mod limit;
mod masquerade;
mod scrub;
mod teardown;
mod usage;

pub use builder::{BuildError, Builder, Built};
pub use capture::{CaptureError, Uncapturable, capture};
pub use entries::point;
pub use fingerprint::{DecodeError, Difference, Fingerprint, FingerprintError};
pub use host_end::host_end_difference;
pub use inspect::{InspectError, inspect};
pub use limit::{BuildPermit, PermitError};
pub use masquerade::{MasqueradeError, release_masquerade, require_masquerade};
pub use scrub::{ScrubError, Scrubbed, scrub};
pub use teardown::{
    REMOVE_INTERFACE, TeardownError, remove_for_another, remove_interface, remove_interfaces,
    tear_down, withdraw,
};
pub use usage::{SocketsError, UsageError, User, users};

use crate::{store::Slot, types::SlotId};

/// Link group of every slot's host-side interface ("rp").
pub const GROUP: u32 = 0x7270;
/// Link group of those that are masqueraded.
pub const GROUP_MASQUERADED: u32 = 0x7271;
/// Link group of those that are being removed.
pub const GROUP_DOOMED: u32 = 0x7272;

/// The alias of a slot's host-side interface, which says whose it is.
#[must_use]
pub fn alias(slot: &Slot) -> String {
    alias_of(slot.network.as_str(), slot.id)
}

fn alias_of(network: &str, slot: SlotId) -> String {
    format!("repoint:{network}:{slot}")
}
