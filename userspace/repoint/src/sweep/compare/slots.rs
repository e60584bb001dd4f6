//! A slot's record against what the kernel and the maps have of it.

use std::net::IpAddr;

use super::{Finding, Kind, Remedy, View, When, of_slot, version};
use crate::{
    model::Identity,
    node::age,
    slot::{Compared, Part, endpoint_of, interface_of, parts_in_words},
    store::{Slot, SlotState},
    sweep::observe::Namespaces,
};

pub(super) fn compare(view: &View<'_>, slot: &Slot, findings: &mut Vec<Finding>) {
    findings.extend(stuck(view, slot));
    if !slot.state().is_settled() || view.seen.records.fresh.contains(&slot.id) {
        return;
    }
    findings.extend(namespace(view, slot));
    findings.extend(abandoned(view, slot));
    match view.half(slot) {
        Compared::Gone => findings.push(link_gone(view, slot)),
        Compared::Strange => {
            let why = format!("interface {} is another's by now", slot.id.host_ifname());
            findings.push(of_slot(slot, Kind::SlotLink, why, Remedy::Leave, When::Again));
        }
        Compared::Own(parts) => {
            let lacks_programs = parts.iter().any(|part| matches!(part, Part::Programs(_)));
            // A waiting slot must not look whole before it is: ADD takes its map entries as proof
            // that its programs use these maps. The next look handles the entries.
            if !lacks_programs || slot.state() == SlotState::Active {
                findings.extend(entries(view, slot));
            }
            findings.extend(half(view, slot, parts));
        }
    }
}

/// A slot that stays in a state in which slots pass: the process that worked on it was killed.
fn stuck(view: &View<'_>, slot: &Slot) -> Option<Finding> {
    use SlotState::{Building, Claimed, Deleting, Dirty, Scrubbing};
    let (seen, state) = (version(slot), slot.state());
    if age(slot.changed, view.seen.now) < view.patience.grace {
        return None;
    }
    let aged = |grace| When::Aged { since: slot.changed, grace };
    let finding = |why: &str, remedy, when| Some(of_slot(slot, Kind::Stuck, why, remedy, when));
    let soon = aged(view.patience.grace);
    match (state, &slot.container) {
        (Building, None) => finding("its builder was killed", Remedy::Delete(seen), soon),
        (Deleting, None) => {
            finding("the process that deleted it was killed", Remedy::Delete(seen), soon)
        }
        (Scrubbing, None) => {
            finding("the process that scrubbed it was killed", Remedy::Resume(seen), soon)
        }
        (Dirty, None) => finding("it came back, and nobody scrubbed it", Remedy::Scrub(seen), soon),
        (Building | Claimed | Deleting, Some(container)) => {
            let why = format!("it is {state}: an ADD or DEL of {container} ended half-way");
            Some(useless(view, slot, Kind::Stuck, why, aged(view.patience.abandoned)))
        }
        (Claimed, None) => finding("no container claims it", Remedy::Delete(seen), soon),
        _ => None,
    }
}

/// The finding of a useless slot with a container. The slot is to be deleted, unless it is in use,
/// or an IPAM plugin gave its addresses: only DEL and GC can release those.
pub(super) fn useless(
    view: &View<'_>,
    slot: &Slot,
    kind: Kind,
    why: String,
    when: When,
) -> Finding {
    let user = slot.netns.filter(|_| slot.owns_netns()).and_then(|own| view.seen.used.get(&own));
    if let Some(user) = user {
        return of_slot(slot, kind, format!("{why}; {user}"), Remedy::Leave, when);
    }
    if let Some(plugin) = &slot.ipam {
        let why = format!("{why}; DEL or GC is needed, for plugin {plugin}");
        return of_slot(slot, kind, why, Remedy::Leave, when);
    }
    of_slot(slot, kind, why, Remedy::Delete(version(slot)), when)
}

/// A slot whose container's namespace is gone from the runtime's path: DEL was missed, or is due.
fn abandoned(view: &View<'_>, slot: &Slot) -> Option<Finding> {
    if slot.state() != SlotState::Active || !view.seen.off_path.contains(&slot.id) {
        return None;
    }
    // A slot with a process inside is not abandoned: runtimes may unmount the path first.
    if slot.netns.is_some_and(|own| view.seen.used.contains_key(&own)) {
        return None;
    }
    let path = slot.netns_path.as_deref().unwrap_or_else(|| std::path::Path::new("?"));
    let why = format!(
        "its namespace is not at {} any more, nobody is in it, and DEL has not come",
        path.display()
    );
    let when = When::Seen(view.patience.abandoned);
    Some(of_slot(slot, Kind::Abandoned, why, Remedy::Delete(version(slot)), when))
}

fn link_gone(view: &View<'_>, slot: &Slot) -> Finding {
    let name = slot.id.host_ifname();
    if slot.state() == SlotState::Active {
        let why = format!("interface {name} is gone, and DEL has not come");
        return useless(view, slot, Kind::SlotLink, why, When::Seen(view.patience.abandoned));
    }
    let why = format!("interface {name} is gone");
    of_slot(slot, Kind::SlotLink, why, Remedy::Delete(version(slot)), When::Again)
}

/// A slot of a pool whose namespace is not kept.
fn namespace(view: &View<'_>, slot: &Slot) -> Option<Finding> {
    let found = match &view.seen.namespaces {
        Namespaces::WrongMountNamespace => return None,
        Namespaces::None => None,
        Namespaces::Kept(kept) => kept.slots.get(&slot.id).copied(),
    };
    if !slot.owns_netns() || found.is_some() && found == slot.netns {
        return None;
    }
    let why = if found.is_some() { "its namespace is another's" } else { "its namespace is gone" };
    let (why, remedy) = if slot.state() == SlotState::Active {
        let why = format!("{why}; its container has it still, and it is deleted after DEL");
        (why, Remedy::Leave)
    } else {
        (why.to_owned(), Remedy::Delete(version(slot)))
    };
    Some(of_slot(slot, Kind::SlotNamespace, why, remedy, When::Again))
}

/// A slot's map entries that differ from its record.
fn entries(view: &View<'_>, slot: &Slot) -> Option<Finding> {
    let (entries, ifindex) = (view.seen.entries.as_ref()?, slot.host_ifindex()?);
    let identity = identity(slot);
    let interface = entries.interfaces.get(&ifindex);
    let expected = interface_of(slot, identity);
    let own = |address: &IpAddr| is_owner(view, slot, address);
    let addresses = slot.addresses.iter().map(ipnet::IpNet::addr).filter(own);
    let endpoints: Vec<_> =
        addresses.map(|address| (address, entries.endpoints.get(&address))).collect();
    let found = interface.map(|found| found.identity);
    let mut why = (interface != Some(&expected)).then(|| reported(slot, "its interface", found));
    let expected = endpoint_of(slot, ifindex, identity);
    for (address, endpoint) in &endpoints {
        if why.is_none() && *endpoint != Some(&expected) {
            let found = endpoint.map(|found| found.identity);
            why = Some(reported(slot, &format!("address {address}"), found));
        }
    }
    // A killed DEL leaves a slot in use without traffic, and the runtime mostly sends it again.
    let mut identities =
        endpoints.iter().filter_map(|(_, found)| found.map(|found| found.identity)).chain(found);
    let parked = slot.state() == SlotState::Active && identities.any(|found| found == 0);
    let when = if parked { When::Seen(view.patience.grace) } else { When::Again };
    Some(of_slot(slot, Kind::Entries, why?, Remedy::Point(version(slot)), when))
}

/// Whether no other slot has the address on record. An address of another slot has a finding of its own.
fn is_owner(view: &View<'_>, slot: &Slot, address: &IpAddr) -> bool {
    view.owners.get(address).is_none_or(|owner| *owner == slot.id)
}

/// The identity that a slot's packets pass under, as its record says.
pub(in crate::sweep) fn identity(slot: &Slot) -> Identity {
    if slot.state() == SlotState::Active { slot.identity } else { Identity::PARKED }
}

/// Describes a map entry that is wrong or missing.
fn reported(slot: &Slot, what: &str, found: Option<u32>) -> String {
    let (state, expected) = (slot.state(), identity(slot).0);
    match found {
        None => format!("{what} is not in the maps"),
        Some(found) if found == expected => {
            format!("the map entry of {what} is not as it was written")
        }
        Some(found) => {
            format!(
                "it is {state}, and the map entry of {what} has identity {found}, not {expected}"
            )
        }
    }
}

/// Findings about a slot's half on the node. The programs have a finding of their own, because a
/// repair attaches them for many slots together.
///
/// An address that is recorded for another slot is left out: its route leads to that slot.
fn half(view: &View<'_>, slot: &Slot, parts: Vec<Part>) -> impl Iterator<Item = Finding> {
    let is_program = |part: &Part| matches!(part, Part::Programs(_));
    let is_own = |part: &Part| match part {
        Part::Route(address) | Part::Neighbour(address) => is_owner(view, slot, address),
        _ => true,
    };
    let parts = parts.into_iter().filter(is_own);
    let (programs, others): (Vec<_>, Vec<_>) = parts.partition(is_program);
    let finding = |parts: &[Part], kind, remedy| {
        let why = parts_in_words(parts);
        (!parts.is_empty()).then(|| of_slot(slot, kind, why, remedy, When::Again))
    };
    let programs = finding(&programs, Kind::Filter, Remedy::Attach(version(slot)));
    let others = finding(&others, Kind::HostHalf, Remedy::RestoreHalf(version(slot)));
    programs.into_iter().chain(others)
}
