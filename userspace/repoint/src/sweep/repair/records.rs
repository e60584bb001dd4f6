//! The database against itself.

use super::{BATCH, Finding, Outcomes, Remedy, RepairOutcome, done, unchanged};
use crate::{
    boot::boot_id,
    failpoint,
    netns::NetnsStore,
    node::{Node, NodeError},
    store::{StoreError, Write},
};

pub(super) fn is_of_records(remedy: &Remedy) -> bool {
    matches!(
        remedy,
        Remedy::RepairIndex(_)
            | Remedy::ForgetAttachment(..)
            | Remedy::RecordAttachment(_)
            | Remedy::Detach(_)
            | Remedy::ForgetAddress(..)
            | Remedy::RecordAddress(..)
    )
}

pub(super) fn repair_due(node: &Node, mut due: Vec<Finding>) -> Outcomes {
    // A record to be written may need the place of one to be forgotten, so those go first.
    due.sort_by_key(|finding| {
        matches!(finding.remedy, Remedy::RecordAttachment(_) | Remedy::RecordAddress(..))
    });
    let mut outcomes = Vec::with_capacity(due.len());
    for batch in due.chunks(BATCH) {
        let repaired = node.store.write(|transaction| {
            let repair = |finding: &Finding| repair(transaction, &finding.remedy);
            batch.iter().map(repair).collect::<Result<Vec<_>, StoreError>>()
        });
        match repaired {
            Ok(repaired) => {
                outcomes.extend(batch.iter().zip(repaired).map(|(finding, repaired)| {
                    (
                        finding.clone(),
                        if repaired { done(&finding.remedy) } else { RepairOutcome::Gone },
                    )
                }));
            }
            // Repairs the findings one by one: one that cannot be repaired does not stop the others.
            Err(_) => {
                outcomes
                    .extend(batch.iter().map(|finding| (finding.clone(), alone(node, finding))));
            }
        }
    }
    outcomes
}

fn alone(node: &Node, finding: &Finding) -> RepairOutcome {
    match node.store.write(|transaction| repair(transaction, &finding.remedy)) {
        Ok(true) => done(&finding.remedy),
        Ok(false) => RepairOutcome::Gone,
        Err(error) => RepairOutcome::Failed(error.into()),
    }
}

/// Repairs one record; returns whether it needed that.
fn repair(transaction: &mut Write<'_>, remedy: &Remedy) -> Result<bool, StoreError> {
    match remedy {
        Remedy::RepairIndex(fault) => transaction.repair_index(fault).map(|()| true),
        Remedy::ForgetAttachment(id, slot) => transaction.repair_attachment(id, *slot),
        Remedy::ForgetAddress(address, slot) => transaction.repair_address(*address, *slot),
        Remedy::RecordAttachment(seen) => {
            let slot = unchanged(transaction, seen)?;
            let Some(id) = slot.as_ref().and_then(|slot| slot.attachment()) else {
                return Ok(false);
            };
            if transaction.attachment(&id)?.is_some() {
                return Ok(false);
            }
            transaction.attach(&id, seen.slot).map(|()| true)
        }
        Remedy::Detach(seen) => {
            let Some(mut slot) = unchanged(transaction, seen)? else { return Ok(false) };
            transaction.detach(&mut slot)?;
            transaction.put_slot(&slot).map(|()| true)
        }
        Remedy::RecordAddress(address, seen) => {
            if unchanged(transaction, seen)?.is_none()
                || transaction.address_owner(*address)?.is_some()
            {
                return Ok(false);
            }
            transaction.take_address(*address, seen.slot).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// Records the boot in a database that was made before boots were recorded. Such a database counts
/// as of this boot.
pub(super) fn record_boot(node: &Node) -> Result<(), StoreError> {
    match boot_id() {
        Some(boot) if node.store.read(|transaction| transaction.boot())?.is_none() => {
            node.store.write(|transaction| transaction.put_boot(&boot))
        }
        _ => Ok(()),
    }
}

/// Forgets the slots of a boot that is over, and the place where their namespaces were.
pub(super) fn forget_boot(node: &Node) -> Result<Option<String>, NodeError> {
    let Some(boot) = boot_id() else { return Ok(None) };
    if !node.store.write(|transaction| transaction.begin_boot(&boot))? {
        return Ok(None);
    }
    failpoint::hit("sweep:boot-forgotten");
    NetnsStore::remove(&node.directories.run)?;
    Ok(Some("forgot all slots, which ended with that boot".to_owned()))
}
