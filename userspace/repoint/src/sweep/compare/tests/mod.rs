//! A made-up node: a healthy one has no findings, and each fault is one finding.

mod behaviour;
mod properties;
mod wrong;

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use ipnet::IpNet;
use proptest::prelude::*;
use repoint_common::mac::GATEWAY_MAC;

use super::*;
use crate::{
    datapath::PinsSeen,
    model::{AttachmentId, FingerprintDigest, Identity, Mac, PoolKey},
    netlink::Ipv6Settings,
    netns::{Kept, NetnsInode},
    slot::{GROUP, endpoint_of, interface_of},
    store::{Built, IndexFault, SlotKind, SlotState, Survey},
    sweep::{
        finding::{FindingTracker, Readiness},
        observe::{Entries, Namespaces, NetnsFile},
    },
};

const NOW: u64 = 1_000_000 * SECOND;
const SECOND: u64 = 1_000_000_000;
/// A number that no slot of the made-up node has.
const NOBODY: SlotId = SlotId(0xdead_0000_beef);

/// A slot in a state, with a namespace of its own or in its runtime's, since some seconds ago.
fn slot(number: u64, state: SlotState, own: bool, age: u64) -> Slot {
    use SlotState::{Active, Building, Claimed, Deleting, Dirty, Parked, Scrubbing, Warm};
    let id = SlotId(0xabcd_0000_0000 + number);
    let since = NOW - age * SECOND;
    let mut slot = Slot::building(id, "n".parse().unwrap(), "eth0".parse().unwrap(), since);
    let path: &[SlotState] = match state {
        Building => &[],
        Warm => &[Warm],
        Claimed => &[Warm, Claimed],
        Active => &[Active],
        Dirty => &[Active, Dirty],
        Scrubbing => &[Active, Dirty, Scrubbing],
        Parked => &[Parked],
        Deleting => &[Deleting],
    };
    for state in path {
        slot.become_state(*state, since).unwrap();
    }
    slot.kind = if own { SlotKind::Pooled { pool: PoolKey([1; 16]) } } else { SlotKind::Direct };
    slot.identity = Identity(7);
    slot.built = (state != Building).then(|| Built {
        host_ifindex: NonZeroU32::new(100 + u32::try_from(number).unwrap()).unwrap(),
        mtu: 1500,
        nsid: own.then_some(1),
        fingerprint: own.then_some(FingerprintDigest([1; 32])),
        source_routed: false,
    });
    slot.netns = Some(NetnsInode { device: 4, inode: 0xf000_0000 + number });
    let [low, high] = u16::try_from(number).unwrap().to_le_bytes();
    let (v4, v6) = (IpAddr::from([10, 0, high, low]), format!("fd00::{number:x}"));
    slot.addresses = vec![IpNet::new(v4, 16).unwrap(), format!("{v6}/64").parse().unwrap()];
    if matches!(state, Active | Claimed) {
        slot.container = Some(format!("c{number}").parse().unwrap());
        slot.netns_path = Some(format!("/run/netns/c{number}").into());
    }
    slot
}

/// What is seen of a healthy node with these slots.
fn node(slots: Vec<Slot>) -> Observation {
    let mut seen = Observation {
        now: NOW,
        boot: Some("this".to_owned()),
        pins: PinsSeen { missing: Some(Vec::new()), programs: Some([1, 2]), ..PinsSeen::default() },
        namespaces: Namespaces::Kept(Kept::default()),
        entries: Some(Entries::default()),
        records: Survey { boot: Some("this".to_owned()), ..Survey::default() },
        ..Observation::default()
    };
    seen.links.push(link("uplink", 2, 0, ""));
    for slot in &slots {
        let addresses = slot.addresses.iter().map(|own| (own.addr(), slot.id));
        seen.records.addresses.extend(addresses);
        seen.records.attachments.extend(slot.attachment().map(|id| (id, slot.id)));
        if slot.state().is_settled()
            || slot.state().is_busy()
            || slot.state() == SlotState::Scrubbing
        {
            make(&mut seen, slot);
        }
    }
    seen.records.slots = slots;
    seen
}

/// Makes what the kernel and the maps have of a slot.
fn make(seen: &mut Observation, slot: &Slot) {
    let index = slot.host_ifindex().unwrap();
    seen.links.push(link(
        &slot.id.host_ifname(),
        index,
        GROUP,
        &Alias::new(slot, seen.owner).to_string(),
    ));
    seen.attached.insert(index, [Some(1), Some(2)]);
    let number = slot.addresses.len();
    let (routes, neighbours) = (vec![Some(index); number], vec![Some(slot.mac); number]);
    seen.halves.insert(slot.id, SeenHalf { routes, neighbours, ..SeenHalf::default() });
    let identity = identity(slot);
    let entries = seen.entries.as_mut().unwrap();
    entries.interfaces.insert(index, interface_of(slot, identity));
    for own in &slot.addresses {
        entries.endpoints.insert(own.addr(), endpoint_of(slot, index, identity));
    }
    if slot.owns_netns() {
        kept(seen).insert(slot.id, slot.netns.unwrap());
    }
}

fn kept(seen: &mut Observation) -> &mut HashMap<SlotId, NetnsInode> {
    match &mut seen.namespaces {
        Namespaces::Kept(kept) => &mut kept.slots,
        other => panic!("{other:?}"),
    }
}

fn link(name: &str, ifindex: u32, group: u32, alias: &str) -> LinkInfo {
    LinkInfo {
        ifindex,
        name: name.to_owned(),
        alias: alias.to_owned(),
        mac: Some(Mac(GATEWAY_MAC)),
        mtu: 1500,
        group,
        up: true,
        qdisc: "noqueue".to_owned(),
        master: None,
        arp: true,
        forwarding: Some(true),
        ipv6: Some(Ipv6Settings { disabled: false, link_local: false }),
    }
}

/// One slot of every kind that a node at work has.
fn at_work() -> Vec<Slot> {
    use SlotState::{Active, Building, Claimed, Deleting, Dirty, Parked, Scrubbing, Warm};
    vec![
        slot(1, Active, true, 5000),
        slot(2, Active, false, 5000),
        slot(3, Warm, true, 5000),
        slot(4, Parked, true, 5000),
        slot(5, Dirty, true, 10),
        slot(6, Building, true, 1),
        slot(7, Claimed, true, 1),
        slot(8, Scrubbing, true, 1),
        slot(9, Deleting, true, 1),
    ]
}

fn found(seen: &Observation) -> Vec<Finding> {
    compare(seen, &Patience::default())
}

/// What is due of an observation that was made twice.
fn due(seen: &Observation) -> Vec<(Kind, Remedy)> {
    let findings = found(seen);
    let tracker = FindingTracker::default().succeed(&findings, NOW);
    let due = findings.iter().filter(|one| tracker.readiness(one, NOW) == Readiness::Due);
    due.map(|one| (one.kind, one.remedy.clone())).collect()
}

#[test]
fn a_node_at_work_has_no_finding() {
    assert_eq!(found(&node(at_work())), []);
    assert_eq!(found(&Observation::default()), []);
}
