//! Enabling the traffic of a slot that was built.

use super::{Node, conflict::ensure_unchanged, error::NodeError, isolation::write_if_different};
use crate::{
    datapath::Maps,
    failpoint,
    model::Identity,
    slot::{BuiltPair, write_entries},
    store::{Access, Slot, Transaction},
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
    if is_behind {
        node.finish_policies_of_others();
    }
    Ok(())
}

/// Writes the map entries of a slot again where policies have changed since [`enable_traffic`], in the transaction
/// that records that the slot is in use: from then on a change of policies writes them. `before` is the slot as it was
/// claimed.
pub(crate) fn settle_traffic<T: Access>(
    node: &Node,
    transaction: &Transaction<'_, T>,
    before: &Slot,
    slot: &Slot,
) -> Result<(), NodeError> {
    if !before.enforces && !slot.enforces && !transaction.policies_state()?.in_use {
        return Ok(());
    }
    let Some(maps) = node.maps()? else { return Ok(()) };
    node.provide_policies(transaction, slot)?;
    write_if_different(&maps, slot)
}
