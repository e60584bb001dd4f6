//! Map entries that are no slot's.

use std::net::IpAddr;

use repoint_common::{endpoint::Endpoint, interface::Interface};

use super::{Finding, Kind, Remedy, View, When, of_node};
use crate::{model::SlotId, slot::Compared, store::SlotState};

pub(super) fn compare(view: &View<'_>, findings: &mut Vec<Finding>) {
    let Some(entries) = &view.seen.entries else { return };
    // Entries cannot be assigned to slots while a slot's record cannot be read.
    if !view.seen.records.damaged.is_empty() {
        return;
    }
    findings.extend(entries.endpoints.iter().filter_map(|(to, entry)| endpoint(view, *to, entry)));
    let interfaces = entries.interfaces.iter();
    findings.extend(interfaces.filter_map(|(index, entry)| interface(view, *index, entry)));
}

fn endpoint(view: &View<'_>, address: IpAddr, entry: &Endpoint) -> Option<Finding> {
    if view.foreign.contains_key(&entry.ifindex) || view.is_lost(entry.ifindex) {
        return None;
    }
    let why = if view.holders.contains(&address) {
        let owner = view.owners.get(&address).and_then(|owner| view.slots.get(owner))?;
        let fresh = view.seen.records.fresh.contains(&owner.id);
        let gone = owner.state() == SlotState::Active && view.half(owner) == Compared::Gone;
        let gone = gone && !fresh;
        gone.then_some("the interface that it leads to is gone")?
    } else {
        "no slot on record has this address"
    };
    let remedy = Remedy::RemoveEndpoint(address, entry.ifindex);
    Some(of_node(Kind::Endpoint, address.to_string(), why, remedy, When::Again))
}

fn interface(view: &View<'_>, ifindex: u32, entry: &Interface) -> Option<Finding> {
    let why = match view.slots.get(&SlotId(entry.slot)) {
        None if view.foreign.contains_key(&ifindex) || view.is_lost(ifindex) => return None,
        None => "its slot is not on record",
        Some(slot) if view.seen.records.fresh.contains(&slot.id) => return None,
        // The record does not have the slot's entries yet, or no longer.
        Some(slot) if matches!(slot.state(), SlotState::Building | SlotState::Deleting) => {
            return None;
        }
        Some(slot) if slot.host_ifindex() != Some(ifindex) => "its slot has another interface",
        Some(slot) if slot.state() == SlotState::Active => match view.half(slot) {
            Compared::Gone => "the interface is gone",
            Compared::Own(_) | Compared::Strange => return None,
        },
        Some(_) => return None,
    };
    let remedy = Remedy::RemoveInterface(ifindex, SlotId(entry.slot));
    Some(of_node(Kind::Interface, format!("index {ifindex}"), why, remedy, When::Again))
}
