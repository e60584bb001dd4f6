//! Slots as a whole, and interfaces and namespaces of slots that are not on record.

use super::{BATCH, Finding, Outcomes, Remedy, RepairOutcome, again, done, failed, unchanged};
use crate::{
    failpoint,
    model::SlotId,
    netlink::{RouteSocket, get_link},
    node::{Node, NodeError, now},
    pool,
    retire::{self, delete_slots},
    slot::{Alias, release_masquerade, remove_links_named, tear_down},
    store::{Slot, SlotState, StoreError},
    sweep::Version,
};

pub(super) fn is_of_slots(remedy: &Remedy) -> bool {
    matches!(remedy, Remedy::Delete(_) | Remedy::Resume(_) | Remedy::Scrub(_))
}

pub(super) fn repair_due(node: &Node, due: Vec<Finding>) -> Outcomes {
    let mut outcomes = Vec::with_capacity(due.len());
    let (deleted, others): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|finding| matches!(finding.remedy, Remedy::Delete(_)));
    for batch in deleted.chunks(BATCH) {
        outcomes.extend(delete(node, batch));
    }
    outcomes.extend(super::each(others, |remedy| match remedy {
        Remedy::Resume(seen) => resume(node, seen),
        Remedy::Scrub(seen) => scrub(node, seen),
        _ => Ok(None),
    }));
    outcomes
}

/// Removes all there is of some slots that are as they were seen.
fn delete(node: &Node, batch: &[Finding]) -> Outcomes {
    let deleting = again::still_so(node, batch);
    let deleting = deleting.and_then(|still| Ok(mark_deleting(node, batch, &still)?));
    let deleting = match deleting {
        Ok(deleting) => deleting,
        Err(error) => return failed(batch, error),
    };
    failpoint::hit("sweep:deleting");
    let (own, others): (Vec<_>, Vec<_>) =
        deleting.iter().flatten().cloned().partition(|slot| slot.owns_netns());
    let mut failure = delete_slots(node, &own).err();
    let is_kept = |slot: &Slot| {
        let recorded = node.store.read(|transaction| transaction.slot(slot.id));
        !matches!(recorded, Ok(None))
    };
    let mut outcomes = Vec::with_capacity(batch.len());
    for (slot, finding) in deleting.into_iter().zip(batch) {
        let outcome = match &slot {
            None => RepairOutcome::Gone,
            Some(slot) if !slot.owns_netns() => {
                remove(node, slot).map_or_else(RepairOutcome::Failed, |()| done(&finding.remedy))
            }
            // The first slot that is still on record has the error.
            Some(slot) if is_kept(slot) => {
                failure.take().map_or(RepairOutcome::Waits, RepairOutcome::Failed)
            }
            Some(_) => done(&finding.remedy),
        };
        outcomes.push((finding.clone(), outcome));
    }
    if others.iter().any(|slot| slot.masquerade) {
        // The next look finds a rule that stays.
        drop(release_masquerade(&node.directories.run, &node.store));
    }
    outcomes
}

/// Marks unchanged slots as being deleted, if the reason still holds.
fn mark_deleting(
    node: &Node,
    batch: &[Finding],
    still: &[bool],
) -> Result<Vec<Option<Slot>>, StoreError> {
    node.store.write(|transaction| {
        let mut deleting = Vec::with_capacity(batch.len());
        for (finding, still) in batch.iter().zip(still) {
            let Remedy::Delete(seen) = &finding.remedy else { continue };
            let slot = if *still { unchanged(transaction, seen)? } else { None };
            let mark =
                |slot: Slot| transaction.advance(slot.id, SlotState::Deleting, now(), |_| ());
            deleting.push(slot.map(mark).transpose()?);
        }
        Ok(deleting)
    })
}

/// Removes all there is of a slot that is in a namespace of its runtime's.
fn remove(node: &Node, slot: &Slot) -> Result<(), NodeError> {
    let maps = node.maps()?;
    if let Some(error) = tear_down(slot, maps.as_ref()).into_iter().next() {
        return Err(error.into());
    }
    failpoint::hit("sweep:torn-down");
    node.store.write(|transaction| transaction.forget(slot, 0))?;
    failpoint::hit("sweep:forgotten");
    Ok(())
}

/// Has a slot scrubbed again, unless a process scrubs it now.
fn resume(node: &Node, seen: &Version) -> Result<Option<String>, NodeError> {
    let resumed = pool::resume(node, seen.slot)?;
    Ok(resumed.then(|| "it will be scrubbed again".to_owned()))
}

/// Scrubs a slot that came back; it is deleted if it is in use for too long.
fn scrub(node: &Node, seen: &Version) -> Result<Option<String>, NodeError> {
    let slot = node.store.read(|transaction| unchanged(transaction, seen))?;
    let Some(slot) = slot else { return Ok(None) };
    let outcomes = retire::scrub(node, &[slot])?;
    Ok(outcomes.into_iter().next().and_then(|(_, outcome)| match outcome {
        retire::ScrubOutcome::Ready { .. } => Some("scrubbed: it is parked".to_owned()),
        retire::ScrubOutcome::Unwanted => {
            Some("deleted: no container may have it again".to_owned())
        }
        retire::ScrubOutcome::Deleted(why) => Some(format!("deleted: {why}")),
        retire::ScrubOutcome::InUse(_) => None,
    }))
}

/// Removes interfaces of slots that are not on record.
pub(super) fn remove_links(node: &Node, due: &[Finding]) -> Outcomes {
    let mut outcomes = Vec::with_capacity(due.len());
    for batch in due.chunks(BATCH) {
        match remove_some(node, batch) {
            Ok(some) => outcomes.extend(some),
            Err(error) => outcomes.extend(failed(batch, error)),
        }
    }
    outcomes
}

fn remove_some(node: &Node, batch: &[Finding]) -> Result<Outcomes, NodeError> {
    let mut socket = RouteSocket::open()?;
    let mut names = Vec::with_capacity(batch.len());
    let mut outcomes = Vec::with_capacity(batch.len());
    for finding in batch {
        let Remedy::RemoveLink(slot, ifindex) = finding.remedy else { continue };
        let stray = is_stray(node, &mut socket, slot, ifindex)?;
        if stray {
            names.push(slot.host_ifname());
        }
        outcomes.push((
            finding.clone(),
            if stray { done(&finding.remedy) } else { RepairOutcome::Gone },
        ));
    }
    remove_links_named(&names)?;
    Ok(outcomes)
}

/// Whether an interface is still what it was seen to be.
fn is_stray(
    node: &Node,
    socket: &mut RouteSocket,
    slot: SlotId,
    ifindex: u32,
) -> Result<bool, NodeError> {
    if node.store.read(|transaction| transaction.slot(slot))?.is_some() {
        return Ok(false);
    }
    match get_link(socket, &slot.host_ifname()) {
        Err(error) if error.is_absent() => Ok(false),
        link => {
            let link = link?;
            let own = |alias: Alias| alias.slot == slot && !alias.is_foreign_to(node.owner());
            let is_unfinished = link.alias.is_empty() && !link.up;
            let is_its = is_unfinished || Alias::read(&link.alias).is_some_and(own);
            Ok(link.ifindex == ifindex && is_its)
        }
    }
}

/// Releases namespaces in the store whose slots are not on record.
pub(super) fn release_namespaces(node: &Node, due: Vec<Finding>) -> Outcomes {
    super::each(due, |remedy| {
        let Remedy::ReleaseNamespace(slot) = remedy else { return Ok(None) };
        if node.store.read(|transaction| transaction.slot(*slot))?.is_some() {
            return Ok(None);
        }
        let Some(netns_store) = node.existing_netns_store()? else { return Ok(None) };
        netns_store.enter(|inside| inside.release(*slot))??;
        Ok(Some("let the namespace go".to_owned()))
    })
}
