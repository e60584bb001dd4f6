//! Conflicts: a slot that another process has changed since it was read.

use super::{Node, error::NodeError};
use crate::store::{Access, Slot, Transaction};

/// The error of an ADD: `Conflict` if its slot has changed, else `met`. A DEL that deletes the slot
/// makes later steps of ADD fail, so their errors do not matter.
pub(crate) fn prefer_conflict(node: &Node, slot: &Slot, met: NodeError) -> NodeError {
    let unchanged = node.store.read(|transaction| ensure_unchanged(transaction, slot));
    match unchanged {
        Err(conflict @ NodeError::Conflict { .. }) => conflict,
        _ => met,
    }
}

/// The slot's record. Fails if a DEL or GC has changed the slot since ADD wrote it.
pub(crate) fn ensure_unchanged<T: Access>(
    transaction: &Transaction<'_, T>,
    slot: &Slot,
) -> Result<Slot, NodeError> {
    transaction.unchanged(slot)?.ok_or(NodeError::Conflict { slot: slot.id })
}
