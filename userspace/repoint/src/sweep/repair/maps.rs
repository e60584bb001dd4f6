//! Map entries.
//!
//! The repair writes and removes entries while no process can write to the database. A slot that is
//! not in use at that moment cannot come into use before the entry is written, and the process that
//! uses it then writes after the repair. The price is some system calls of 2 µs each, and the one
//! exception to the rule that a transaction makes none.

use std::net::IpAddr;

use super::{BATCH, Finding, Outcomes, Remedy, RepairOutcome, done, failed, unchanged};
use crate::{
    datapath::Maps,
    failpoint,
    model::SlotId,
    node::{Node, NodeError},
    slot::write_entries,
    store::{Read, Slot, SlotState},
    sweep::{Version, compare::identity},
};

pub(super) fn is_of_maps(remedy: &Remedy) -> bool {
    matches!(remedy, Remedy::Point(_) | Remedy::RemoveEndpoint(..) | Remedy::RemoveInterface(..))
}

pub(super) fn repair_due(node: &Node, due: Vec<Finding>) -> Outcomes {
    let maps = match node.maps() {
        Ok(Some(maps)) => maps,
        Ok(None) => return due.into_iter().map(|finding| (finding, RepairOutcome::Gone)).collect(),
        Err(error) => return failed(&due, error),
    };
    let mut outcomes = Vec::with_capacity(due.len());
    for batch in due.chunks(BATCH) {
        let written = node.store.read(|transaction| {
            let write = |finding: &Finding| {
                let outcome = match write(transaction, &maps, &finding.remedy) {
                    Ok(true) => done(&finding.remedy),
                    Ok(false) => RepairOutcome::Gone,
                    Err(error) => RepairOutcome::Failed(error),
                };
                failpoint::hit("sweep:entry");
                (finding.clone(), outcome)
            };
            Ok::<_, NodeError>(batch.iter().map(write).collect::<Vec<_>>())
        });
        match written {
            Ok(written) => outcomes.extend(written),
            Err(error) => outcomes.extend(failed(batch, error)),
        }
    }
    outcomes
}

fn write(transaction: &Read<'_>, maps: &Maps, remedy: &Remedy) -> Result<bool, NodeError> {
    match remedy {
        Remedy::Point(seen) => point_again(transaction, maps, seen),
        Remedy::RemoveEndpoint(address, ifindex) => {
            remove_endpoint(transaction, maps, *address, *ifindex)
        }
        Remedy::RemoveInterface(ifindex, slot) => {
            remove_interface(transaction, maps, *ifindex, *slot)
        }
        _ => Ok(false),
    }
}

fn point_again(transaction: &Read<'_>, maps: &Maps, seen: &Version) -> Result<bool, NodeError> {
    let Some(slot) = unchanged(transaction, seen)? else { return Ok(false) };
    let ifindex = slot.require_built()?.host_ifindex.get();
    write_entries(&slot, ifindex, identity(&slot), maps)?;
    Ok(true)
}

fn remove_endpoint(
    transaction: &Read<'_>,
    maps: &Maps,
    address: IpAddr,
    ifindex: u32,
) -> Result<bool, NodeError> {
    let owner = transaction.address_owner(address)?;
    let owner = owner.map(|owner| transaction.slot(owner)).transpose()?.flatten();
    if owner.is_some_and(|owner| !has_lost_interface(&owner)) {
        return Ok(false);
    }
    if maps.endpoint(address)?.is_none_or(|entry| entry.ifindex != ifindex) {
        return Ok(false);
    }
    maps.remove_endpoint(address)?;
    Ok(true)
}

fn remove_interface(
    transaction: &Read<'_>,
    maps: &Maps,
    ifindex: u32,
    slot: SlotId,
) -> Result<bool, NodeError> {
    let used = |slot: Slot| {
        matches!(slot.state(), SlotState::Building | SlotState::Deleting)
            || slot.host_ifindex() == Some(ifindex) && !has_lost_interface(&slot)
    };
    if transaction.slot(slot)?.is_some_and(used) {
        return Ok(false);
    }
    if maps.interface(ifindex)?.is_none_or(|entry| entry.slot != slot.0) {
        return Ok(false);
    }
    maps.remove_interface(ifindex)?;
    Ok(true)
}

/// Whether a slot is in use, and its interface is gone.
fn has_lost_interface(slot: &Slot) -> bool {
    slot.state() == SlotState::Active
        && nix::net::if_::if_nametoindex(slot.id.host_ifname().as_str()).is_err()
}
