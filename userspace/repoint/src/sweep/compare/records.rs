//! The database against itself.

use std::collections::{HashMap, HashSet};

use super::{Finding, Kind, Remedy, View, When, of_node, of_slot, version};
use crate::{
    model::{AttachmentId, NetworkName, SlotId},
    store::{IndexFault, Slot, SlotState},
    sweep::observe::Observation,
};

/// The attachments of a network that the runtime's list of valid attachments lacks. Slots that wait
/// are not attachments, and attachments of other networks are ignored.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "the configuration's set is of the standard hasher")]
pub fn unlisted(
    mut attachments: Vec<(AttachmentId, SlotId)>,
    network: &NetworkName,
    valid: &HashSet<AttachmentId>,
) -> Vec<(AttachmentId, SlotId)> {
    attachments.retain(|(id, _)| id.network == *network && !valid.contains(id));
    attachments
}

/// Whether the database is of another boot.
pub(super) fn other_boot(seen: &Observation) -> Option<Finding> {
    let (recorded, now) = (seen.records.boot.as_ref()?, seen.boot.as_ref()?);
    let why = format!("the node was booted since: {} slots are gone", seen.records.slots.len());
    (recorded != now).then(|| of_node(Kind::Boot, recorded, &why, Remedy::ForgetBoot, When::Now))
}

pub(super) fn compare(view: &View<'_>, findings: &mut Vec<Finding>) {
    let records = &view.seen.records;
    findings.extend(records.unreadable.iter().enumerate().map(|(number, why)| {
        of_node(Kind::Record, format!("#{}", number + 1), why, Remedy::Leave, When::Now)
    }));
    findings.extend(records.index_faults.iter().map(index));
    let attachments: HashMap<_, _> =
        records.attachments.iter().map(|(id, slot)| (id, *slot)).collect();
    for (id, slot) in &records.attachments {
        findings.extend(attachment(view, id, *slot));
    }
    for (address, slot) in &records.addresses {
        findings.extend(address_record(view, *address, *slot));
    }
    for slot in &records.slots {
        let recorded = slot.attachment().map(|id| (attachments.get(&id).copied(), id));
        if let Some((recorded, id)) = recorded {
            findings.extend(slots_attachment(view, slot, &id, recorded));
        }
        findings
            .extend(slot.addresses.iter().filter_map(|own| slots_address(view, slot, own.addr())));
    }
}

fn index(fault: &IndexFault) -> Finding {
    let (name, why) = match fault {
        IndexFault::Stray { slot: Some(slot), .. } => {
            (slot.to_string(), "an entry of the index is of no slot, or in the wrong place")
        }
        IndexFault::Stray { key, slot: None } => {
            (format!("{} bytes", key.len()), "an entry of the index names no slot")
        }
        IndexFault::Missing { slot } => (slot.to_string(), "nobody finds the slot in the index"),
    };
    of_node(Kind::Index, name, why, Remedy::RepairIndex(fault.clone()), When::Now)
}

/// An attachment whose slot is gone or has another container.
fn attachment(view: &View<'_>, id: &AttachmentId, slot: SlotId) -> Option<Finding> {
    let why = match view.slots.get(&slot) {
        Some(found) if found.has(id) => return None,
        Some(_) => format!("its slot {slot} has another container"),
        None if view.is_on_record(slot) => return None,
        None => format!("its slot {slot} is not on record"),
    };
    let remedy = Remedy::ForgetAttachment(id.clone(), slot);
    let network = Some(id.network.clone());
    let (kind, name) = (Kind::Attachment, id.to_string());
    Some(Finding { kind, name, why, remedy, when: When::Now, network })
}

/// A slot with a container whose attachment is not on record, or names another slot.
fn slots_attachment(
    view: &View<'_>,
    slot: &Slot,
    id: &AttachmentId,
    recorded: Option<SlotId>,
) -> Option<Finding> {
    let kind = Kind::Attachment;
    if slot.state().is_idle() || matches!(slot.state(), SlotState::Dirty | SlotState::Scrubbing) {
        let why = format!("it is {} and has container {}", slot.state(), id.container);
        return Some(of_slot(slot, kind, why, Remedy::Detach(version(slot)), When::Now));
    }
    match recorded {
        Some(other) if other == slot.id => None,
        None => {
            let why = format!("nothing is recorded of {id}, which has it");
            Some(of_slot(slot, kind, why, Remedy::RecordAttachment(version(slot)), When::Now))
        }
        // If the other slot does not have it either, the attachment is reported now, and this slot
        // by a later look.
        Some(other) if view.slots.get(&other).is_some_and(|other| other.has(id)) => {
            let why = format!("{id} has it, and slot {other} as well");
            Some(super::slots::useless(view, slot, kind, why, When::Seen(view.patience.grace)))
        }
        Some(_) => None,
    }
}

/// A recorded address whose slot is gone, or does not list it.
fn address_record(view: &View<'_>, address: std::net::IpAddr, slot: SlotId) -> Option<Finding> {
    let remedy = Remedy::ForgetAddress(address, slot);
    let (kind, name) = (Kind::Address, address.to_string());
    match view.slots.get(&slot) {
        Some(found) if found.addresses.iter().any(|own| own.addr() == address) => None,
        Some(found) => {
            let why = format!("slot {slot} is recorded to have it, and has not");
            let network = Some(found.network.clone());
            Some(Finding { kind, name, why, remedy, when: When::Now, network })
        }
        None if view.is_on_record(slot) => None,
        None => {
            let why = format!("its slot {slot} is not on record");
            Some(of_node(kind, name, &why, remedy, When::Now))
        }
    }
}

/// A slot's address that is not on record, or is recorded for another slot.
fn slots_address(view: &View<'_>, slot: &Slot, address: std::net::IpAddr) -> Option<Finding> {
    let owner = view.owners.get(&address).copied();
    let finding = |why: String, remedy, when| {
        let network = Some(slot.network.clone());
        Finding { kind: Kind::Address, name: address.to_string(), why, remedy, when, network }
    };
    match owner {
        Some(owner) if owner == slot.id => None,
        None => {
            let why = format!("slot {} has it, and it is recorded to be free", slot.id);
            let remedy = Remedy::RecordAddress(address, version(slot));
            Some(finding(why, remedy, When::Now))
        }
        Some(owner) => {
            let other = view.slots.get(&owner)?;
            if !other.addresses.iter().any(|own| own.addr() == address) {
                return None;
            }
            let why = format!("slot {} has it as well as slot {owner}", slot.id);
            let waits = slot.container.is_none() && slot.state().is_settled();
            let remedy = if waits { Remedy::Delete(version(slot)) } else { Remedy::Leave };
            Some(finding(why, remedy, When::Again))
        }
    }
}
