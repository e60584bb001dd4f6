//! What a sweep repairs when it has seen it twice, or at once.

use super::*;

/// What is to be done about it.
pub(super) type Expected = fn(&Observation) -> Remedy;
/// Changes a node at work.
pub(super) type Change = fn(&mut Observation);

/// Slots of [`at_work`] by their numbers there.
pub(super) fn of(seen: &Observation, number: usize) -> Slot {
    seen.records.slots[number - 1].clone()
}

pub(super) fn entries(seen: &mut Observation) -> &mut Entries {
    seen.entries.as_mut().unwrap()
}

/// Faults: what each is found as, and what is to be done about it. `behaviour` has other kinds, and the
/// suite `halves` has `HostHalf` and `Forwarding`.
pub(super) const WRONG: [(&str, Kind, Change, Expected); 33] = [
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
        |_| Remedy::RepairIndex(IndexFault::Missing { slot: NOBODY }),
    ),
    (
        "an attachment without slot",
        Kind::Attachment,
        |seen| seen.records.attachments.push((an_attachment(), NOBODY)),
        |_| Remedy::ForgetAttachment(an_attachment(), NOBODY),
    ),
    (
        "an attachment of a slot that another has",
        Kind::Attachment,
        |seen| seen.records.attachments.push((an_attachment(), of(seen, 1).id)),
        |seen| Remedy::ForgetAttachment(an_attachment(), of(seen, 1).id),
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
        |seen| Remedy::Delete(version(&of(seen, 3))),
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
        |seen| Remedy::Delete(version(&of(seen, 6))),
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
        |seen| Remedy::Delete(version(&of(seen, 9))),
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
        |seen| Remedy::Delete(version(&of(seen, 7))),
    ),
    (
        "a slot that waits without interface",
        Kind::SlotLink,
        |seen| seen.links.retain(|link| link.ifindex != 103),
        |seen| Remedy::Delete(version(&of(seen, 3))),
    ),
    (
        "a slot that waits without namespace",
        Kind::SlotNamespace,
        |seen| {
            kept(seen).remove(&of_work(4));
        },
        |seen| Remedy::Delete(version(&of(seen, 4))),
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
        "an interface without slot that never got its alias",
        Kind::Link,
        |seen| {
            seen.links.push(LinkInfo { up: false, ..link(&NOBODY.host_ifname(), 4711, GROUP, "") });
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

pub(super) fn of_work(number: u64) -> SlotId {
    SlotId(0xabcd_0000_0000 + number)
}

pub(super) fn first(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

pub(super) fn stray_address() -> IpAddr {
    IpAddr::from([10, 9, 9, 9])
}

pub(super) fn an_attachment() -> AttachmentId {
    AttachmentId {
        network: "n".parse().unwrap(),
        container: "x".parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}
