//! The data plane's pins, the masquerade rule, forwarding, and the files in `runDir`.

use super::{Finding, Kind, Remedy, View, When, of_node};
use crate::{
    slot::{Forwarding, NodeNeeds},
    store::SlotState,
};

pub(super) fn compare(view: &View<'_>, findings: &mut Vec<Finding>) {
    pins(view, findings);
    if let Some(why) = &view.seen.policies {
        let remedy = Remedy::RestorePolicies;
        findings.push(of_node(Kind::Policies, "of this node", why, remedy, When::Again));
    }
    masquerade(view, findings);
    forwarding(view, findings);
    files(view, findings);
}

fn pins(view: &View<'_>, findings: &mut Vec<Finding>) {
    let pins = &view.seen.pins;
    let reload = |name: &str, why: &str| of_node(Kind::Pin, name, why, Remedy::Reload, When::Again);
    match &pins.missing {
        Some(missing) if missing.is_empty() => {}
        Some(missing) => findings.push(reload(&missing.join(", "), "it is pinned no more")),
        None if view.slots.is_empty() => {}
        None => findings.push(reload("data plane", "slots are on record, and nothing is pinned")),
    }
    if pins.abandoned {
        let why = "the process that loaded or unloaded the data plane was killed";
        let when = When::Again;
        findings.push(of_node(Kind::Pin, "partial folder", why, Remedy::ClearPins, when));
    }
    let other = "it is of another version of repoint, or not repoint's";
    findings.extend(
        pins.others.iter().map(|name| of_node(Kind::Pin, name, other, Remedy::Leave, When::Now)),
    );
}

fn masquerade(view: &View<'_>, findings: &mut Vec<Finding>) {
    let mut slots = view.slots.values();
    let needed = slots.any(|slot| slot.masquerade && slot.state() != SlotState::Deleting);
    let (why, remedy) = match (needed, view.seen.masquerades) {
        (true, false) => ("a slot needs it, and it is gone", Remedy::AddRule),
        // A slot with an unreadable record, or a slot of another database, may need it.
        (false, true) if view.seen.records.damaged.is_empty() && !view.masquerades_for_others() => {
            ("no slot needs it", Remedy::RemoveRule)
        }
        _ => return,
    };
    findings.push(of_node(Kind::Masquerade, "table inet repoint", why, remedy, When::Again));
}

fn forwarding(view: &View<'_>, findings: &mut Vec<Finding>) {
    let mut needs = NodeNeeds::default();
    let slots = view.slots.values().filter(|slot| slot.state() != SlotState::Deleting);
    slots.for_each(|slot| needs = needs.with(NodeNeeds::of(slot)));
    for family in &view.seen.not_forwarding {
        if !match family {
            Forwarding::Ipv4 => needs.ipv4,
            Forwarding::Ipv6 => needs.ipv6,
        } {
            continue;
        }
        let why = "it is 0, and slots need the node to forward packets";
        let remedy = Remedy::SwitchOn(*family);
        findings.push(of_node(Kind::Forwarding, family.name(), why, remedy, When::Again));
    }
}

fn files(view: &View<'_>, findings: &mut Vec<Finding>) {
    let files = &view.seen.files;
    if files.deaf_socket {
        let why = "no agent listens at it";
        findings.push(of_node(Kind::File, "agent.sock", why, Remedy::RemoveSocket, When::Again));
    }
    for file in &files.netns {
        let has = |path: &std::path::Path| path == file.path;
        if view.slots.values().any(|slot| slot.netns_path.as_deref().is_some_and(has)) {
            continue;
        }
        let (why, remedy) = if file.mounted {
            ("a namespace that is no slot's is mounted there", Remedy::Leave)
        } else {
            ("no slot's namespace is to be there", Remedy::RemoveFile(file.path.clone()))
        };
        let when = When::Aged { since: file.made, grace: view.patience.grace };
        findings.push(of_node(Kind::File, file.path.to_string_lossy(), why, remedy, when));
    }
    let strange = "it is not repoint's";
    findings.extend(
        files
            .unknown
            .iter()
            .map(|name| of_node(Kind::File, name, strange, Remedy::Leave, When::Now)),
    );
}
