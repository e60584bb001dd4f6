//! When something counts as wrong, and when it is repaired.

use super::{wrong::*, *};

#[test]
fn whatever_is_wrong_is_found_and_nothing_else() {
    for (what, kind, change, remedy) in WRONG {
        let mut seen = node(at_work());
        change(&mut seen);
        assert_eq!(due(&seen), [(kind, remedy(&seen))], "{what}: {:#?}", found(&seen));
    }
}

/// Only findings that were read in one transaction, or ended with a boot, are repaired at once.
#[test]
fn what_may_come_or_go_is_due_only_when_it_is_seen_again() {
    for (what, kind, change, _) in WRONG {
        let mut seen = node(at_work());
        change(&mut seen);
        let findings = found(&seen);
        let [finding] = findings.as_slice() else { panic!("{what}: {findings:#?}") };
        let once = FindingTracker::default().readiness(finding, NOW);
        let at_once = matches!(kind, Kind::Boot | Kind::Index | Kind::Attachment)
            || matches!(finding.remedy, Remedy::ForgetAddress(..) | Remedy::RecordAddress(..));
        assert_eq!(once, if at_once { Readiness::Due } else { Readiness::Unsure }, "{what}");
    }
}

/// The slot's map entries and its record were read at different moments.
#[test]
fn nothing_is_concluded_of_a_slot_that_changed_while_the_node_was_looked_at() {
    let mut seen = node(at_work());
    entries(&mut seen).interfaces.remove(&101);
    seen.links.retain(|link| link.ifindex != 102);
    assert!(!found(&seen).is_empty());
    seen.records.fresh = HashSet::from([of_work(1), of_work(2)]);
    assert_eq!(found(&seen), []);
}

/// A slot that was used between two looks is a new finding, though it looks alike.
#[test]
fn what_changed_between_two_looks_was_not_seen_twice() {
    let mut seen = node(at_work());
    entries(&mut seen).interfaces.remove(&103);
    let tracker = FindingTracker::default().succeed(&found(&seen), NOW);
    seen.records.slots[2].changed += 1;
    let findings = found(&seen);
    assert_eq!(tracker.readiness(&findings[0], NOW), Readiness::Unsure, "{findings:?}");
}

/// These are reported and left: they are not ours, or in use, or a person has to look.
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
        let tracker = FindingTracker::default().succeed(&findings, 0);
        let reported: Vec<_> =
            findings.iter().map(|one| (one.kind, tracker.readiness(one, u64::MAX))).collect();
        assert_eq!(reported, [(kind, Readiness::Left)], "{what}: {findings:#?}");
    }
}

/// A killed DEL leaves a slot in use without traffic, and the runtime mostly sends it again.
#[test]
fn a_slot_in_use_without_traffic_has_time() {
    let mut seen = node(at_work());
    entries(&mut seen).interfaces.get_mut(&101).unwrap().identity = 0;
    let findings = found(&seen);
    assert_eq!(findings[0].remedy, Remedy::Point(version(&of(&seen, 1))));
    let tracker = FindingTracker::default().succeed(&findings, NOW);
    let later = |seconds| tracker.readiness(&findings[0], NOW + seconds * SECOND);
    assert_eq!((later(59), later(60)), (Readiness::Waits, Readiness::Due));
}

/// The slot waits for its DEL or GC.
#[test]
fn a_slot_whose_container_is_gone_has_time() {
    let mut seen = node(at_work());
    seen.off_path.insert(of_work(1));
    seen.links.retain(|link| link.ifindex != 102);
    entries(&mut seen).interfaces.remove(&102);
    entries(&mut seen).endpoints.retain(|_, entry| entry.ifindex != 102);
    let findings = found(&seen);
    let tracker = FindingTracker::default().succeed(&findings, NOW);
    let later = |seconds: u64| -> Vec<_> {
        let then = NOW + seconds * SECOND;
        findings.iter().map(|one| (one.kind, tracker.readiness(one, then))).collect()
    };
    let both = |readiness| vec![(Kind::Abandoned, readiness), (Kind::SlotLink, readiness)];
    assert_eq!(later(599), both(Readiness::Waits));
    assert_eq!(later(600), both(Readiness::Due));
    // A process is in the namespace: a runtime may unmount the path first.
    seen.used.insert(seen.records.slots[0].netns.unwrap(), "process 1 is inside".to_owned());
    assert!(found(&seen).iter().all(|one| one.kind != Kind::Abandoned));
    // The IPAM plugin must get its addresses back.
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

/// Map entries cannot be assigned to slots while a slot's record cannot be read.
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
    seen.namespaces = Namespaces::WrongMountNamespace;
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

/// Nothing of another database's slots is touched while their interfaces are there.
#[test]
fn slots_of_another_run_dir_are_reported_and_left() {
    use crate::slot::Owner;
    let mut seen = node(at_work());
    seen.records.slots.clear();
    seen.records.attachments.clear();
    seen.records.addresses.clear();
    for link in seen.links.iter_mut().filter(|link| link.group == GROUP) {
        link.group = GROUP_MASQUERADED;
    }
    seen.masquerades = true;
    kept(&mut seen).clear();
    seen.owner = Owner::of("/run/another".as_ref());
    let links = seen.links.len() - 1;
    let findings = found(&seen);
    assert_eq!(findings.len(), links, "{findings:#?}");
    let is_reported = |one: &Finding| one.kind == Kind::Link && one.remedy == Remedy::Leave;
    assert!(findings.iter().all(is_reported), "{findings:#?}");
    // Once the interfaces are gone, the entries belong to no slot.
    seen.links.truncate(1);
    let entries = seen.entries.as_ref().unwrap();
    let left = entries.endpoints.len() + entries.interfaces.len();
    assert_eq!(due(&seen).len(), left + 1, "{:#?}", due(&seen));
}

/// A process in a namespace without its interface may get another one, so only DEL ends the slot.
#[test]
fn a_slot_in_use_whose_interface_is_gone_is_left_to_who_is_inside() {
    let patience = Patience { abandoned: Duration::ZERO, ..Patience::default() };
    let mut seen = node(vec![slot(1, SlotState::Active, true, 5000)]);
    seen.links.truncate(1);
    let of_link = |seen: &Observation| {
        let found = compare(seen, &patience);
        found.into_iter().find(|one| one.kind == Kind::SlotLink).unwrap()
    };
    assert!(matches!(of_link(&seen).remedy, Remedy::Delete(_)));
    seen.used.insert(seen.records.slots[0].netns.unwrap(), "process 1 is inside".to_owned());
    let found = of_link(&seen);
    assert_eq!(found.remedy, Remedy::Leave, "{found}");
    assert!(found.why.ends_with("process 1 is inside"), "{found}");
}
