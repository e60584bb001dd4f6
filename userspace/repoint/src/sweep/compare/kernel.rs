//! Interfaces and namespaces that are no slot's.

use super::{Finding, Kind, Remedy, View, When, of_node};
use crate::{
    model::SlotId,
    netlink::LinkInfo,
    slot::{Alias, GROUP, GROUP_MASQUERADED, is_deletion_group},
    sweep::observe::Namespaces,
};

pub(super) fn compare(view: &View<'_>, findings: &mut Vec<Finding>) {
    findings.extend(view.seen.links.iter().filter_map(|link| compare_link(view, link)));
    let Namespaces::Kept(kept) = &view.seen.namespaces else { return };
    // If a container uses the namespace, the finding is its interface, which goes first.
    let is_stray =
        |slot: &&SlotId| !view.is_on_record(**slot) && !view.seen.lost.contains_key(slot);
    findings.extend(kept.slots.keys().filter(is_stray).map(|slot| {
        let why = "it is kept, and its slot is not on record";
        let remedy = Remedy::ReleaseNamespace(*slot);
        of_node(Kind::Namespace, slot.to_string(), why, remedy, When::Again)
    }));
    findings.extend(kept.strange.iter().map(|name| {
        let why = "it is in the namespace store, and not repoint's";
        of_node(Kind::Namespace, name, why, Remedy::Leave, When::Now)
    }));
}

fn compare_link(view: &View<'_>, link: &LinkInfo) -> Option<Finding> {
    let named: Option<SlotId> = link.name.strip_prefix("rp").and_then(|digits| digits.parse().ok());
    let in_group = matches!(link.group, GROUP | GROUP_MASQUERADED) || is_deletion_group(link.group);
    let foreign =
        |why: &str| Some(of_node(Kind::Link, &link.name, why, Remedy::Leave, When::Again));
    match (named, Alias::read(&link.alias)) {
        // Another check compares the interface with the slot's record.
        (Some(slot), _) if view.is_on_record(slot) => None,
        (Some(slot), Some(alias)) if slot == alias.slot && in_group => {
            let is_foreign = view.foreign.contains_key(&link.ifindex);
            Some(if is_foreign { others(link, alias) } else { stray(view, link, alias) })
        }
        // An interface gets its alias before it comes up, and after it is made.
        (Some(slot), None) if in_group && link.alias.is_empty() && !link.up => {
            let why = format!("slot {slot} is not on record, and the building of it was cut short");
            let remedy = Remedy::RemoveLink(slot, link.ifindex);
            Some(of_node(Kind::Link, &link.name, &why, remedy, When::Again))
        }
        _ if in_group => foreign("it is in repoint's group, and not named as its interfaces are"),
        _ if view
            .seen
            .attached
            .get(&link.ifindex)
            .is_some_and(|on| on.iter().any(Option::is_some)) =>
        {
            foreign("it has a filter in the place of repoint's, and is not repoint's")
        }
        _ => None,
    }
}

fn stray(view: &View<'_>, link: &LinkInfo, Alias { network, slot, .. }: Alias) -> Finding {
    let why = format!("slot {slot} of network {network} is not on record");
    let (why, when) = match view.seen.lost.get(&slot) {
        None => (why, When::Again),
        Some(user) => {
            let why = format!(
                "{why}, and {user}: the database was lost; put it back, or stop the container"
            );
            (why, When::Seen(view.patience.abandoned))
        }
    };
    let remedy = Remedy::RemoveLink(slot, link.ifindex);
    Finding { kind: Kind::Link, name: link.name.clone(), why, remedy, when, network: Some(network) }
}

/// An interface of a slot that is on record in another database, if that is there still.
fn others(link: &LinkInfo, Alias { network, slot, .. }: Alias) -> Finding {
    let why = format!("it is slot {slot} of network {network}, of another runDir");
    of_node(Kind::Link, &link.name, &why, Remedy::Leave, When::Now)
}
