//! Slots as kernel objects: building one from a configuration, inspecting it, finding what
//! was changed in it, taking it down.

mod alias;
mod builder;
mod capture;
mod container_end;
mod entries;
mod fingerprint;
mod hook;
mod host_half;
mod host_residue;
mod inspect;
mod ipv6;
mod limit;
mod masquerade;
mod node_needs;
mod scrub;
mod sources;
mod teardown;
mod usage;

pub(crate) use alias::is_alias_of;
pub use alias::{Alias, Owner};
pub use builder::{BuildError, Builder, BuiltPair};
pub use capture::{CaptureError, Uncapturable, capture};
pub use entries::{endpoint_of, interface_of, write_entries, write_waiting_entries};
pub use fingerprint::{DecodeError, Difference, Fingerprint, FingerprintError};
pub use hook::{HookError, attach_by_tcx, ours_by_tcx};
pub(crate) use host_half::attach_filters;
pub use host_half::{
    Compared, HalfError, Part, ProgramFault, SeenHalf, compare_half, host_group, look_at_halves,
    look_at_ways, parts_in_words, restore_half,
};
pub use host_residue::host_residue;
pub use inspect::{InspectError, inspect};
pub use ipv6::{Ipv6Disabled, NoIpv6};
pub use limit::{BuildPermit, PermitError};
pub use masquerade::{MasqueradeError, release_masquerade, require_masquerade};
pub use node_needs::{Forwarding, NodeLack, NodeNeeds, NodeNeedsError};
pub use scrub::{ScrubError, Scrubbed, scrub};
pub use sources::remove_sources;
pub use teardown::{
    REMOVE_INTERFACE, TeardownError, has_interface, remove_for_another, remove_interface,
    remove_interfaces, remove_links_named, tear_down, withdraw,
};
pub use usage::{SocketsError, UsageError, User, users};

/// Link group of every slot's host-side interface ("rp").
pub const GROUP: u32 = 0x7270;
/// Link group of the host-side interfaces that are masqueraded.
pub const GROUP_MASQUERADED: u32 = 0x7271;
/// First link group of interfaces that are being removed. Each process that removes interfaces has a
/// group of its own, because the kernel removes all that is in a group.
const GROUPS_DELETING: u32 = 0x7280_0000;
/// Mask for the process number in such a group. The kernel gives no larger number.
const PROCESS: u32 = 0x003f_ffff;

/// Link group of the interfaces that this process removes.
fn deletion_group() -> u32 {
    GROUPS_DELETING | (std::process::id() & PROCESS)
}

/// Whether the interfaces of a link group are being removed.
#[must_use]
pub fn is_deletion_group(group: u32) -> bool {
    group & !PROCESS == GROUPS_DELETING
}
