//! Conflicts: a slot that another process has changed since it was read.

use super::{Node, error::LifecycleError};
use crate::store::{Slot, Transaction};

/// Why an ADD failed that had this slot: what it met is of no interest where a DEL caused it.
pub(crate) fn cause(node: &Node, slot: &Slot, met: LifecycleError) -> LifecycleError {
    let unchanged = node.store.read(|transaction| ensure_unchanged(transaction, slot));
    match unchanged {
        Err(overtaken @ LifecycleError::Overtaken { .. }) => overtaken,
        _ => met,
    }
}

/// Fails where a slot is not what ADD has made of it: a DEL came meanwhile, or a GC.
pub(crate) fn ensure_unchanged<T: lmdb::Transaction>(
    transaction: &Transaction<'_, T>,
    slot: &Slot,
) -> Result<(), LifecycleError> {
    match transaction.unchanged(slot)? {
        Some(_) => Ok(()),
        None => Err(LifecycleError::Overtaken { slot: slot.id }),
    }
}
