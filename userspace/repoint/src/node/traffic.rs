//! Enabling the traffic of a slot that was built.

use super::{Node, conflict::ensure_unchanged, error::NodeError};
use crate::{
    datapath::Maps,
    failpoint,
    model::Identity,
    slot::{BuiltPair, write_entries},
    store::Slot,
};

/// Writes the map entries of a slot that was built. No process can write to the database meanwhile:
/// after a DEL, another slot may have the addresses.
pub(crate) fn enable_traffic(
    node: &Node,
    maps: &Maps,
    slot: &Slot,
    pair: &BuiltPair,
    identity: Identity,
) -> Result<(), NodeError> {
    node.store.read(|transaction| {
        ensure_unchanged(transaction, slot)?;
        Ok::<_, NodeError>(write_entries(slot, pair.host_ifindex.get(), identity, maps)?)
    })?;
    failpoint::hit("build:entries");
    Ok(())
}
