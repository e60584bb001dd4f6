//! Slots as kernel objects: building one from a configuration, inspecting it, taking it down.

mod builder;
mod inspect;
mod limit;
mod masquerade;
mod teardown;

pub use builder::{BuildError, Builder, Built};
pub use inspect::{InspectError, inspect};
pub use limit::{BuildPermit, PermitError};
pub use masquerade::{MasqueradeError, release_masquerade, require_masquerade};
pub use teardown::{
    REMOVE_INTERFACE, TeardownError, remove_for_another, remove_interface, tear_down, withdraw,
};

use crate::{store::Slot, types::SlotId};

/// Link group of every slot's host-side interface ("rp").
pub const GROUP: u32 = 0x7270;
/// Link group of those that are masqueraded.
pub const GROUP_MASQUERADED: u32 = 0x7271;

/// The alias of a slot's host-side interface, which says whose it is.
#[must_use]
pub fn alias(slot: &Slot) -> String {
    alias_of(slot.network.as_str(), slot.id)
}

fn alias_of(network: &str, slot: SlotId) -> String {
    format!("repoint:{network}:{slot}")
}
