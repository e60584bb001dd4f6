//! Enabling the traffic of a slot that was built.

use super::{Node, conflict::ensure_unchanged, error::NodeError};
use crate::{
    datapath::Maps,
    failpoint,
    model::Identity,
    slot::{Built, write_entries},
    store::Slot,
};

/// Points the maps at a slot that was built, while nobody can write to the database: should it have
/// been deleted meanwhile, its addresses may be another's.
pub(crate) fn enable_traffic(
    node: &Node,
    maps: &Maps,
    slot: &Slot,
    built: &Built,
    identity: Identity,
) -> Result<(), NodeError> {
    node.store.read(|transaction| {
        ensure_unchanged(transaction, slot)?;
        Ok::<_, NodeError>(write_entries(slot, built.host_ifindex, identity, maps)?)
    })?;
    failpoint::hit("build:published");
    Ok(())
}
