//! A node that is made up: what is healthy is no finding, and each thing that is wrong is one.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::{
    datapath::PinsSeen,
    netns::{Kept, NetnsInode},
    slot::{GROUP, endpoint_of, interface_of},
    store::{IndexFault, Survey},
    sweep::{
        finding::{Ripeness, Suspects},
        observe::{Entries, Namespaces, NetnsFile},
    },
    types::{AttachmentId, Identity},
};

const NOW: u64 = 1_000_000 * SECOND;
const SECOND: u64 = 1_000_000_000;
/// A number that no slot of the made-up node has.
const NOBODY: SlotId = SlotId(0xdead_0000_beef);

/// A slot in a state, with a namespace of its own or in its runtime's, since some seconds ago.
fn slot(number: u64, state: SlotState, own: bool, age: u64) -> Slot {
    use SlotState::{Active, Building, Claimed, Condemned, Dirty, Parked, Scrubbing, Warm};
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
        Condemned => &[Condemned],
    };
    for state in path {
        slot.become_state(*state, since).unwrap();
    }
    slot.owns_netns = own;
    slot.identity = Identity(7);
    slot.host_ifindex = if state == Building { 0 } else { 100 + u32::try_from(number).unwrap() };
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
        if is_settled(slot.state())
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
    let index = slot.host_ifindex;
    seen.links.push(link(&slot.id.host_ifname(), index, GROUP, &alias(slot)));
    seen.attached.insert(index, [Some(1), Some(2)]);
    let identity = identity(slot);
    let entries = seen.entries.as_mut().unwrap();
    entries.interfaces.insert(index, interface_of(slot, identity));
    for own in &slot.addresses {
        entries.endpoints.insert(own.addr(), endpoint_of(slot, index, identity));
    }
    if slot.owns_netns {
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
        mac: None,
        mtu: 1500,
        group,
        up: true,
        qdisc: "noqueue".to_owned(),
    }
}

/// One slot of every kind that a node at work has.
fn at_work() -> Vec<Slot> {
    use SlotState::{Active, Building, Claimed, Condemned, Dirty, Parked, Scrubbing, Warm};
    vec![
        slot(1, Active, true, 5000),
        slot(2, Active, false, 5000),
        slot(3, Warm, true, 5000),
        slot(4, Parked, true, 5000),
        slot(5, Dirty, true, 10),
        slot(6, Building, true, 1),
        slot(7, Claimed, true, 1),
        slot(8, Scrubbing, true, 1),
        slot(9, Condemned, true, 1),
    ]
}

fn found(seen: &Observation) -> Vec<Finding> {
    compare(seen, &Patience::default())
}

/// What is due of an observation that was made twice.
fn due(seen: &Observation) -> Vec<(Kind, Remedy)> {
    let findings = found(seen);
    let suspects = Suspects::default().succeed(&findings, NOW);
    let due = findings.iter().filter(|one| suspects.ripeness(one, NOW) == Ripeness::Due);
    due.map(|one| (one.kind, one.remedy.clone())).collect()
}

#[test]
fn a_node_at_work_has_no_finding() {
    assert_eq!(found(&node(at_work())), []);
    assert_eq!(found(&Observation::default()), []);
}

/// What is to be done about it.
type Expected = fn(&Observation) -> Remedy;
/// Changes a node at work.
type Change = fn(&mut Observation);

/// Slots of [`at_work`] by their numbers there.
fn of(seen: &Observation, number: usize) -> Slot {
    seen.records.slots[number - 1].clone()
}

fn entries(seen: &mut Observation) -> &mut Entries {
    seen.entries.as_mut().unwrap()
}

/// Garbage of every kind: what it is found as, and what is to be done about it.
const WRONG: [(&str, Kind, Change, Expected); 33] = [
    (
        "another boot",
        Kind::Boot,
        |seen| seen.boot = Some("next".to_owned()),
        |_| Remedy::ForgetBoot,
    ),
    (
        "an index fault",
        Kind::Index,
        |seen| seen.records.index_faults.push(IndexFault::Missing { slot: NOBODY }),
        |_| Remedy::MendIndex(IndexFault::Missing { slot: NOBODY }),
    ),
    (
        "an attachment without slot",
        Kind::Attachment,
        |seen| seen.records.attachments.push((somebody(), NOBODY)),
        |_| Remedy::ForgetAttachment(somebody(), NOBODY),
    ),
    (
        "an attachment of a slot that another has",
        Kind::Attachment,
        |seen| seen.records.attachments.push((somebody(), of(seen, 1).id)),
        |seen| Remedy::ForgetAttachment(somebody(), of(seen, 1).id),
    ),
    (
        "a slot without its attachment",
        Kind::Attachment,
        |seen| seen.records.attachments.retain(|(_, slot)| *slot != of_work(1)),
        |seen| Remedy::RecordAttachment(version(&of(seen, 1))),
    ),
    (
        "a slot that waits and has a container",
        Kind::Attachment,
        |seen| seen.records.slots[2].container = Some("c".parse().unwrap()),
        |seen| Remedy::Detach(version(&of(seen, 3))),
    ),
    (
        "an address without slot",
        Kind::Address,
        |seen| seen.records.addresses.push((stray_address(), NOBODY)),
        |_| Remedy::ForgetAddress(stray_address(), NOBODY),
    ),
    (
        "an address of a slot that has it not",
        Kind::Address,
        |seen| seen.records.addresses.push((stray_address(), of(seen, 1).id)),
        |seen| Remedy::ForgetAddress(stray_address(), of(seen, 1).id),
    ),
    (
        "a slot whose address is free",
        Kind::Address,
        |seen| seen.records.addresses.retain(|(address, _)| *address != first(1)),
        |seen| Remedy::RecordAddress(first(1), version(&of(seen, 1))),
    ),
    (
        "a slot that waits and has another's address",
        Kind::Address,
        |seen| {
            let address = of(seen, 1).addresses[0];
            seen.records.slots[2].addresses.push(address);
            let entry = interface_of(&of(seen, 3), Identity::PARKED);
            entries(seen).interfaces.insert(103, entry);
        },
        |seen| Remedy::GiveUp(version(&of(seen, 3))),
    ),
    (
        "a pin that is missing",
        Kind::Pin,
        |seen| {
            seen.pins.missing = Some(vec!["interfaces"]);
            (seen.pins.programs, seen.entries) = (None, None);
        },
        |_| Remedy::Reload,
    ),
    (
        "no pins",
        Kind::Pin,
        |seen| (seen.pins, seen.entries) = (PinsSeen::default(), None),
        |_| Remedy::Reload,
    ),
    (
        "pins of a loader that was killed",
        Kind::Pin,
        |seen| seen.pins.abandoned = true,
        |_| Remedy::ClearPins,
    ),
    (
        "an address of a slot in use that is not in the maps",
        Kind::Entries,
        |seen| {
            entries(seen).endpoints.remove(&first(1));
        },
        |seen| Remedy::Point(version(&of(seen, 1))),
    ),
    (
        "an interface of a slot that waits that is not in the maps",
        Kind::Entries,
        |seen| {
            entries(seen).interfaces.remove(&103);
        },
        |seen| Remedy::Point(version(&of(seen, 3))),
    ),
    (
        "an address that leads to another interface",
        Kind::Entries,
        |seen| entries(seen).endpoints.get_mut(&first(2)).unwrap().ifindex = 1,
        |seen| Remedy::Point(version(&of(seen, 2))),
    ),
    (
        "a slot that waits and has traffic",
        Kind::Entries,
        |seen| entries(seen).interfaces.get_mut(&104).unwrap().identity = 7,
        |seen| Remedy::Point(version(&of(seen, 4))),
    ),
    (
        "a dirty slot that can be reached",
        Kind::Entries,
        |seen| entries(seen).endpoints.get_mut(&first(5)).unwrap().identity = 7,
        |seen| Remedy::Point(version(&of(seen, 5))),
    ),
    (
        "a slot in use without traffic",
        Kind::Entries,
        |seen| entries(seen).interfaces.get_mut(&101).unwrap().identity = 0,
        |seen| Remedy::Point(version(&of(seen, 1))),
    ),
    (
        "a slot without a program",
        Kind::Filter,
        |seen| {
            seen.attached.insert(101, [Some(1), None]);
        },
        |seen| Remedy::Attach(version(&of(seen, 1))),
    ),
    (
        "a slot with programs of another data plane",
        Kind::Filter,
        |seen| {
            seen.attached.insert(103, [Some(8), Some(9)]);
        },
        |seen| Remedy::Attach(version(&of(seen, 3))),
    ),
    (
        "a builder that was killed",
        Kind::Stuck,
        |seen| seen.records.slots[5].changed = NOW - 61 * SECOND,
        |seen| Remedy::GiveUp(version(&of(seen, 6))),
    ),
    (
        "a scrub that was interrupted",
        Kind::Stuck,
        |seen| seen.records.slots[7].changed = NOW - 61 * SECOND,
        |seen| Remedy::Resume(version(&of(seen, 8))),
    ),
    (
        "a remover that was killed",
        Kind::Stuck,
        |seen| seen.records.slots[8].changed = NOW - 61 * SECOND,
        |seen| Remedy::GiveUp(version(&of(seen, 9))),
    ),
    (
        "a slot that came back long ago",
        Kind::Stuck,
        |seen| seen.records.slots[4].changed = NOW - 61 * SECOND,
        |seen| Remedy::Scrub(version(&of(seen, 5))),
    ),
    (
        "an ADD that was killed",
        Kind::Stuck,
        |seen| seen.records.slots[6].changed = NOW - 601 * SECOND,
        |seen| Remedy::GiveUp(version(&of(seen, 7))),
    ),
    (
        "a slot that waits without interface",
        Kind::SlotLink,
        |seen| seen.links.retain(|link| link.ifindex != 103),
        |seen| Remedy::GiveUp(version(&of(seen, 3))),
    ),
    (
        "a slot that waits without namespace",
        Kind::SlotNamespace,
        |seen| {
            kept(seen).remove(&of_work(4));
        },
        |seen| Remedy::GiveUp(version(&of(seen, 4))),
    ),
    (
        "an endpoint without slot",
        Kind::Endpoint,
        |seen| {
            let entry = endpoint_of(&of(seen, 1), 4711, Identity(7));
            entries(seen).endpoints.insert(stray_address(), entry);
        },
        |_| Remedy::RemoveEndpoint(stray_address(), 4711),
    ),
    (
        "an interface in the maps without slot",
        Kind::Interface,
        |seen| {
            let mut entry = interface_of(&of(seen, 1), Identity(7));
            entry.slot = NOBODY.0;
            entries(seen).interfaces.insert(4711, entry);
        },
        |_| Remedy::RemoveInterface(4711, NOBODY),
    ),
    (
        "an interface without slot",
        Kind::Link,
        |seen| {
            let alias = format!("repoint:n:{NOBODY}");
            seen.links.push(link(&NOBODY.host_ifname(), 4711, GROUP, &alias));
        },
        |_| Remedy::RemoveLink(NOBODY, 4711),
    ),
    (
        "a namespace without slot",
        Kind::Namespace,
        |seen| {
            kept(seen).insert(NOBODY, NetnsInode { device: 4, inode: 1 });
        },
        |_| Remedy::ReleaseNamespace(NOBODY),
    ),
    (
        "the masquerade rule without a slot that needs it",
        Kind::Masquerade,
        |seen| seen.masquerades = true,
        |_| Remedy::RemoveRule,
    ),
];

fn of_work(number: u64) -> SlotId {
    SlotId(0xabcd_0000_0000 + number)
}

fn first(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn stray_address() -> IpAddr {
    IpAddr::from([10, 9, 9, 9])
}

fn somebody() -> AttachmentId {
    AttachmentId {
        network: "n".parse().unwrap(),
        container: "x".parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

#[test]
fn whatever_is_wrong_is_found_and_nothing_else() {
    for (what, kind, change, remedy) in WRONG {
        let mut seen = node(at_work());
        change(&mut seen);
        assert_eq!(due(&seen), [(kind, remedy(&seen))], "{what}: {:#?}", found(&seen));
    }
}

/// What is done at once was read in one transaction, or ended with a boot.
#[test]
fn what_may_come_or_go_is_due_only_when_it_is_seen_again() {
    for (what, kind, change, _) in WRONG {
        let mut seen = node(at_work());
        change(&mut seen);
        let findings = found(&seen);
        let [finding] = findings.as_slice() else { panic!("{what}: {findings:#?}") };
        let once = Suspects::default().ripeness(finding, NOW);
        let at_once = matches!(kind, Kind::Boot | Kind::Index | Kind::Attachment)
            || matches!(finding.remedy, Remedy::ForgetAddress(..) | Remedy::RecordAddress(..));
        assert_eq!(once, if at_once { Ripeness::Due } else { Ripeness::Unsure }, "{what}");
    }
}

/// Its map entries are of one moment, and its record of another.
#[test]
fn nothing_is_concluded_of_a_slot_that_changed_while_the_node_was_looked_at() {
    let mut seen = node(at_work());
    entries(&mut seen).interfaces.remove(&101);
    seen.links.retain(|link| link.ifindex != 102);
    assert!(!found(&seen).is_empty());
    seen.records.fresh = HashSet::from([of_work(1), of_work(2)]);
    assert_eq!(found(&seen), []);
}

/// A slot that was used in between is another matter, though it looks alike.
#[test]
fn what_changed_between_two_looks_was_not_seen_twice() {
    let mut seen = node(at_work());
    entries(&mut seen).interfaces.remove(&103);
    let suspects = Suspects::default().succeed(&found(&seen), NOW);
    seen.records.slots[2].changed += 1;
    let findings = found(&seen);
    assert_eq!(suspects.ripeness(&findings[0], NOW), Ripeness::Unsure, "{findings:?}");
}

/// These are told of and left: they are not ours, or somebody uses them, or a person has to look.
const LEFT: [(&str, Kind, Change); 10] = [
    ("a record that cannot be read", Kind::Record, |seen| {
        seen.records.unreadable.push("it is nonsense".to_owned());
    }),
    ("a link in our group", Kind::Link, |seen| {
        seen.links.push(link("guest", 4711, GROUP, ""));
    }),
    ("a link in our group with our name", Kind::Link, |seen| {
        seen.links.push(link(&NOBODY.host_ifname(), 4711, GROUP, "repoint:n:000000000001"));
    }),
    ("a filter of ours on a foreign link", Kind::Link, |seen| {
        seen.attached.insert(2, [Some(1), None]);
    }),
    ("pins of another version", Kind::Pin, |seen| seen.pins.others.push("v0".to_owned())),
    ("an unknown file", Kind::File, |seen| seen.files.unknown.push("notes".to_owned())),
    ("a namespace that is mounted and no slot's", Kind::File, |seen| {
        let path = "/run/repoint/netns/x".into();
        seen.files.netns.push(NetnsFile { path, mounted: true, made: 1 });
    }),
    ("a strange file beside slots' namespaces", Kind::Namespace, |seen| {
        if let Namespaces::Kept(kept) = &mut seen.namespaces {
            kept.strange.push("x".to_owned());
        }
    }),
    ("a slot's interface that is another's", Kind::SlotLink, |seen| {
        seen.links.iter_mut().for_each(|link| {
            if link.ifindex == 103 {
                link.alias = String::new();
            }
        });
    }),
    ("a slot in use whose namespace is kept no more", Kind::SlotNamespace, |seen| {
        kept(seen).remove(&of_work(1));
    }),
];

#[test]
fn what_is_not_ours_to_put_right_is_left() {
    for (what, kind, change) in LEFT {
        let mut seen = node(at_work());
        change(&mut seen);
        let findings = found(&seen);
        let suspects = Suspects::default().succeed(&findings, 0);
        let told: Vec<_> =
            findings.iter().map(|one| (one.kind, suspects.ripeness(one, u64::MAX))).collect();
        assert_eq!(told, [(kind, Ripeness::Left)], "{what}: {findings:#?}");
    }
}

/// DEL or GC is due to it, and has its time to come.
#[test]
fn a_slot_whose_container_is_gone_has_time() {
    let mut seen = node(at_work());
    seen.off_path.insert(of_work(1));
    seen.links.retain(|link| link.ifindex != 102);
    entries(&mut seen).interfaces.remove(&102);
    entries(&mut seen).endpoints.retain(|_, entry| entry.ifindex != 102);
    let findings = found(&seen);
    let suspects = Suspects::default().succeed(&findings, NOW);
    let later = |seconds: u64| -> Vec<_> {
        let then = NOW + seconds * SECOND;
        findings.iter().map(|one| (one.kind, suspects.ripeness(one, then))).collect()
    };
    let both = |ripeness| vec![(Kind::Abandoned, ripeness), (Kind::SlotLink, ripeness)];
    assert_eq!(later(599), both(Ripeness::Waits));
    assert_eq!(later(600), both(Ripeness::Due));
    // Somebody is in the namespace: a runtime may unmount the path first.
    seen.used.insert(seen.records.slots[0].netns.unwrap(), "process 1 is inside".to_owned());
    assert!(found(&seen).iter().all(|one| one.kind != Kind::Abandoned));
    // Another plugin has to get its addresses back.
    seen.records.slots[1].ipam = Some("host-local".parse().unwrap());
    let findings = found(&seen);
    assert!(findings.iter().all(|one| one.remedy == Remedy::Leave), "{findings:?}");
}

#[test]
fn an_add_that_was_killed_waits_for_its_del_and_for_who_is_inside() {
    let mut seen = node(at_work());
    seen.records.slots[6].changed = NOW - 599 * SECOND;
    assert_eq!(due(&seen), []);
    assert_eq!(found(&seen)[0].kind, Kind::Stuck);
    seen.records.slots[6].changed = NOW - 6000 * SECOND;
    seen.used.insert(seen.records.slots[6].netns.unwrap(), "process 1 is inside".to_owned());
    assert_eq!(found(&seen)[0].remedy, Remedy::Leave);
}

/// Whose they are is not known where a slot's record cannot be read.
#[test]
fn nothing_of_a_damaged_record_is_touched() {
    let mut seen = node(at_work());
    let damaged = seen.records.slots.remove(0);
    seen.records.damaged.insert(damaged.id);
    seen.records.unreadable.push("a slot".to_owned());
    seen.masquerades = true;
    assert_eq!(due(&seen), []);
}

/// A process in another mount namespace sees neither slots' namespaces nor runtimes' paths.
#[test]
fn nothing_is_concluded_from_what_cannot_be_seen() {
    let mut seen = node(at_work());
    seen.namespaces = Namespaces::Elsewhere;
    assert_eq!(found(&seen), []);
}

#[test]
fn files_have_their_time_and_slots_keep_theirs() {
    let mut seen = node(at_work());
    let file = |path: &str, made| NetnsFile { path: path.into(), mounted: false, made };
    seen.files.netns = vec![
        file("/run/netns/c1", 1),
        file("/run/repoint/netns/new", NOW - SECOND),
        file("/run/repoint/netns/old", 1),
    ];
    seen.files.deaf_socket = true;
    let old = Remedy::RemoveFile("/run/repoint/netns/old".into());
    assert_eq!(due(&seen), [(Kind::File, old), (Kind::File, Remedy::RemoveSocket)]);
}

#[test]
fn only_what_the_runtime_does_not_list_of_its_network_is_unlisted() {
    let id = |network: &str, container: &str| AttachmentId {
        network: network.parse().unwrap(),
        container: container.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    let all = vec![(id("n", "a"), SlotId(1)), (id("n", "b"), SlotId(2)), (id("m", "b"), SlotId(3))];
    let valid = HashSet::from([id("n", "a")]);
    let found = unlisted(all.clone(), &"n".parse().unwrap(), &valid);
    assert_eq!(found, [(id("n", "b"), SlotId(2))]);
    assert_eq!(unlisted(all, &"o".parse().unwrap(), &valid), []);
}

fn any_slots() -> impl Strategy<Value = Vec<Slot>> {
    let one = (0..SlotState::ALL.len(), any::<bool>(), 0_u64..59);
    proptest::collection::vec(one, 0..40).prop_map(|ones| {
        let slots = ones.into_iter().enumerate().map(|(index, (state, own, age))| {
            slot(index as u64 + 1, SlotState::ALL[state], own, age)
        });
        slots.collect()
    })
}

proptest! {
    #[test]
    fn nothing_of_a_healthy_node_is_ever_a_finding(slots in any_slots()) {
        prop_assert_eq!(found(&node(slots)), []);
    }

    /// Whatever else is wrong at the same time.
    #[test]
    fn all_that_is_wrong_is_found_together(which in proptest::collection::btree_set(10..WRONG.len(), 0..6)) {
        let mut seen = node(at_work());
        let mut expected = Vec::new();
        for index in which {
            let (_, kind, change, remedy) = WRONG[index];
            // Of a data plane or an interface that is gone nothing more can be told, and what is wrong
            // of one slot is told once by kind.
            if !matches!(kind, Kind::Pin | Kind::SlotLink) && expected.iter().all(|(other, _)| *other != kind) {
                change(&mut seen);
                expected.push((kind, remedy as Expected));
            }
        }
        let found: Vec<_> = found(&seen).into_iter().map(|one| one.kind).collect();
        for (kind, _) in expected {
            prop_assert!(found.contains(&kind), "no {:?} in {:?}", kind, found);
        }
    }

    /// Slots in the hands of somebody who comes and goes.
    #[test]
    fn what_the_maps_say_of_a_slot_on_its_way_is_no_finding(
        slots in any_slots(), index in 0..40_usize, identity in 0..9_u32,
    ) {
        use SlotState::{Building, Claimed, Condemned};
        let mut seen = node(slots);
        let slots = &seen.records.slots;
        let Some(slot) = slots.get(index % slots.len().max(1)).cloned() else { return Ok(()) };
        prop_assume!(matches!(slot.state(), Building | Claimed | Condemned));
        let entries = entries(&mut seen);
        entries.interfaces.insert(77, interface_of(&slot, Identity(identity)));
        entries.endpoints.insert(slot.addresses[0].addr(), endpoint_of(&slot, 77, Identity(identity)));
        let found = found(&seen);
        prop_assert!(slot.state() == Claimed || found.is_empty(), "{:?}", found);
    }

    /// The clock may step back.
    #[test]
    fn times_to_come_are_young(ahead in 0..1_000_000_u64) {
        let mut seen = node(at_work());
        seen.now = NOW - ahead * 1_000_000;
        prop_assert_eq!(found(&seen), []);
    }

    #[test]
    fn patience_ends(grace in 1..100_u64) {
        let patience = Patience::new(Duration::from_secs(grace));
        let mut seen = node(vec![slot(1, SlotState::Building, true, grace - 1)]);
        prop_assert_eq!(compare(&seen, &patience), []);
        seen.now += SECOND;
        prop_assert_eq!(compare(&seen, &patience).len(), 1);
    }
}
