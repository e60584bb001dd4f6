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
    let is_behind = node.store.read(|transaction| {
        let slot = ensure_unchanged(transaction, slot)?;
        let is_used = identity != Identity::PARKED;
        let is_behind = is_used && node.provide_policies(transaction, &slot)?;
        write_entries(&slot, pair.host_ifindex.get(), identity, maps)?;
        Ok::<_, NodeError>(is_behind)
    })?;
    failpoint::hit("build:entries");
    if is_behind { node.finish_policies() } else { Ok(()) }
}
