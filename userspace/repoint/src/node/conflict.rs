//! Conflicts: a slot that another process has changed since it was read.

use super::{Node, error::NodeError};
use crate::store::{Access, Slot, Transaction};

/// Why an ADD failed that had this slot: what it met is of no interest where a DEL caused it.
pub(crate) fn prefer_conflict(node: &Node, slot: &Slot, met: NodeError) -> NodeError {
    let unchanged = node.store.read(|transaction| ensure_unchanged(transaction, slot));
    match unchanged {
        Err(overtaken @ NodeError::Conflict { .. }) => overtaken,
        _ => met,
    }
}

/// Fails where a slot is not what ADD has made of it: a DEL came meanwhile, or a GC.
pub(crate) fn ensure_unchanged<T: Access>(
    transaction: &Transaction<'_, T>,
    slot: &Slot,
) -> Result<(), NodeError> {
    match transaction.unchanged(slot)? {
        Some(_) => Ok(()),
        None => Err(NodeError::Conflict { slot: slot.id }),
    }
}
