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
pub use entries::{endpoint_of, interface_of, point};
pub use fingerprint::{DecodeError, Difference, Fingerprint, FingerprintError};
pub use host_end::host_end_difference;
pub use inspect::{InspectError, inspect};
pub use limit::{BuildPermit, PermitError};
pub use masquerade::{MasqueradeError, release_masquerade, require_masquerade};
pub use scrub::{ScrubError, Scrubbed, scrub};
pub use teardown::{
    REMOVE_INTERFACE, TeardownError, remove_for_another, remove_interface, remove_interfaces,
    remove_links_named, tear_down, withdraw,
};
pub use usage::{SocketsError, UsageError, User, users};

use crate::{
    store::Slot,
    types::{NetworkName, SlotId},
};

/// Link group of every slot's host-side interface ("rp").
pub const GROUP: u32 = 0x7270;
/// Link group of those that are masqueraded.
pub const GROUP_MASQUERADED: u32 = 0x7271;
/// Link groups of those that are being removed: for each process that removes some, one of these,
/// since the kernel removes whatever is in it.
const GROUPS_DOOMED: u32 = 0x7280_0000;
/// Which part of such a group's number is the process's: the kernel gives no larger one.
const PROCESS: u32 = 0x003f_ffff;

/// Link group of the interfaces that this process removes.
fn doomed_group() -> u32 {
    GROUPS_DOOMED | (std::process::id() & PROCESS)
}

/// Whether the interfaces of a link group are being removed.
#[must_use]
pub fn is_doomed(group: u32) -> bool {
    group & !PROCESS == GROUPS_DOOMED
}

/// The alias of a slot's host-side interface, which says whose it is.
#[must_use]
pub fn alias(slot: &Slot) -> String {
    alias_of(slot.network.as_str(), slot.id)
}

fn alias_of(network: &str, slot: SlotId) -> String {
    format!("repoint:{network}:{slot}")
}

/// The network and the slot that an alias names, if it is one of ours.
#[must_use]
pub fn slot_of_alias(alias: &str) -> Option<(NetworkName, SlotId)> {
    // Neither holds a colon.
    let (network, slot) = alias.strip_prefix("repoint:")?.split_once(':')?;
    Some((network.parse().ok()?, slot.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_tells_network_and_slot() {
        let alias = alias_of("my.net", SlotId(0xab_cdef));
        assert_eq!(slot_of_alias(&alias), Some(("my.net".parse().unwrap(), SlotId(0xab_cdef))));
        for other in ["", "repoint", "repoint:n", "repoint:n:1", "repoint::000000000001", "x"] {
            assert_eq!(slot_of_alias(other), None, "{other:?}");
        }
    }
}
