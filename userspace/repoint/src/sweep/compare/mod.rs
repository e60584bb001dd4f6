//! What in an observation is not as it should be: pure functions, with nothing of the machine.

mod entries;
mod kernel;
mod plane;
mod records;
mod slots;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    finding::{Finding, Kind, Remedy, Version, When},
    observe::Observation,
};
use crate::{
    model::SlotId,
    netlink::LinkInfo,
    slot::{Alias, Compared, GROUP_MASQUERADED, SeenHalf, compare_half},
    store::Slot,
};

/// How patient a sweep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long a slot may be on its way before its process counts as killed.
    pub grace: Duration,
    /// How long a slot waits for the DEL or GC that is due to it.
    pub abandoned: Duration,
}

impl Patience {
    /// Patience of `grace` for slots on their way, and ten times that for slots that wait for DEL.
    #[must_use]
    pub const fn new(grace: Duration) -> Self {
        Self { grace, abandoned: grace.saturating_mul(10) }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new(Duration::from_mins(1))
    }
}

pub use records::unlisted;
pub(super) use slots::identity;

/// Everything that is not as it should be, by kind and name.
#[must_use]
pub fn compare(seen: &Observation, patience: &Patience) -> Vec<Finding> {
    if let Some(finding) = records::other_boot(seen) {
        // All recorded slots ended with that boot. Once they are forgotten, the next look finds the rest.
        return vec![finding];
    }
    let view = View::new(seen, patience);
    let mut findings = Vec::new();
    records::compare(&view, &mut findings);
    plane::compare(&view, &mut findings);
    for slot in &seen.records.slots {
        slots::compare(&view, slot, &mut findings);
    }
    entries::compare(&view, &mut findings);
    kernel::compare(&view, &mut findings);
    findings.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    findings
}

/// An observation, with what is looked up in it often.
struct View<'a> {
    seen: &'a Observation,
    patience: &'a Patience,
    slots: HashMap<SlotId, &'a Slot>,
    links: HashMap<&'a str, &'a LinkInfo>,
    /// The slot to which the database assigns each address. If two slots list an address, this is
    /// the slot that may keep it.
    owners: HashMap<IpAddr, SlotId>,
    /// All addresses that slots' records list.
    holders: HashSet<IpAddr>,
    /// Interfaces of slots that are on record in another database.
    foreign: HashMap<u32, &'a LinkInfo>,
    /// Interfaces that containers use and whose database was lost.
    lost: HashMap<u32, &'a LinkInfo>,
}

impl<'a> View<'a> {
    fn new(seen: &'a Observation, patience: &'a Patience) -> Self {
        let slots: HashMap<_, _> = seen.records.slots.iter().map(|slot| (slot.id, slot)).collect();
        let addresses = slots.values().flat_map(|slot| &slot.addresses);
        let links: HashMap<&str, _> =
            seen.links.iter().map(|link| (link.name.as_str(), link)).collect();
        let lost = seen.lost.keys().filter_map(|slot| links.get(&*slot.host_ifname()).copied());
        Self {
            seen,
            patience,
            lost: lost.map(|link| (link.ifindex, link)).collect(),
            links,
            owners: seen.records.addresses.iter().copied().collect(),
            holders: addresses.map(|address| address.addr()).collect(),
            foreign: seen.links.iter().filter_map(|link| foreign(seen, link)).collect(),
            slots,
        }
    }

    /// Whether a slot is on record, with a readable record or not.
    fn is_on_record(&self, slot: SlotId) -> bool {
        self.slots.contains_key(&slot) || self.seen.records.damaged.contains(&slot)
    }

    /// Whether an interface of another database's slot, or of a lost one, is masqueraded.
    fn masquerades_for_others(&self) -> bool {
        let mut others = self.foreign.values().chain(self.lost.values());
        others.any(|link| link.group == GROUP_MASQUERADED)
    }

    /// Whether an interface is of a slot of a lost database, which a container uses.
    fn is_lost(&self, ifindex: u32) -> bool {
        self.lost.contains_key(&ifindex)
    }

    /// How a slot's half on the node compares with what it is to be.
    fn half(&self, slot: &Slot) -> Compared {
        let link = self.links.get(slot.id.host_ifname().as_str()).copied().cloned();
        let attached = slot.host_ifindex().and_then(|index| self.seen.attached.get(&index));
        let programs = attached.copied().unwrap_or_default();
        let ways = self.seen.halves.get(&slot.id).cloned();
        let seen = SeenHalf { link, programs, ..ways.unwrap_or_default() };
        compare_half(slot, &seen, self.seen.pins.programs)
    }
}

/// The interface, if its alias names a slot of another database.
fn foreign<'a>(seen: &Observation, link: &'a LinkInfo) -> Option<(u32, &'a LinkInfo)> {
    let alias = Alias::read(&link.alias)?;
    let named = link.name == alias.slot.host_ifname();
    (named && alias.is_foreign_to(seen.owner)).then_some((link.ifindex, link))
}

/// A slot as it was seen.
fn version(slot: &Slot) -> Version {
    Version { slot: slot.id, state: slot.state(), changed: slot.changed }
}

/// A finding about a slot.
fn of_slot(slot: &Slot, kind: Kind, why: impl Into<String>, remedy: Remedy, when: When) -> Finding {
    Finding {
        kind,
        name: slot.id.to_string(),
        why: why.into(),
        remedy,
        when,
        network: Some(slot.network.clone()),
    }
}

/// A finding that is of no network, or of an unknown one.
fn of_node(kind: Kind, name: impl Into<String>, why: &str, remedy: Remedy, when: When) -> Finding {
    Finding { kind, name: name.into(), why: why.to_owned(), remedy, when, network: None }
}

#[cfg(test)]
mod tests;
