//! Numbers of groups over sequences of changes of the objects.

use std::collections::{BTreeMap, BTreeSet};

use repoint_common::policy::{MAX_GROUPS, NETWORK_GROUPS, TENANT_GROUPS};
use repoint_policy::{CompileError, Groups, NamedPort, Object, Set};

use crate::{
    draw::Draw,
    objects::{self, PORT_NAMES, PORTS, PROTOCOLS},
    settings,
};

/// Changes of one sequence.
const CHANGES: usize = 30;
/// Sequences, which differ in the number of their objects.
const SEQUENCES: u64 = 60;

#[test]
fn a_number_in_use_stays_that_of_its_set() {
    let seed = settings::seed();
    let (mut changes, mut kept, mut new, mut refused) = (0, 0, 0, 0);
    for case in 0..SEQUENCES {
        let mut draw = Draw::new(seed, case);
        let size = 1 + draw.below(60);
        let (mut groups, mut all) = (Groups::default(), Vec::new());
        for _ in 0..CHANGES {
            change(&mut draw, &mut all, size);
            let ports = ports(&mut draw);
            match groups.renew(&all, &ports) {
                Ok(renewed) => {
                    let (same, other) = check(&groups, &renewed, &all, &ports);
                    (kept, new, groups) = (kept + same, new + other, renewed);
                }
                Err(error) => {
                    check_refusal(&groups, &all, &ports, &error);
                    refused += 1;
                }
            }
            changes += 1;
        }
    }
    println!("{changes} changes: {kept} sets kept, {new} new, {refused} changes refused");
    assert!(kept > 1_000 && new > 1_000 && refused > 10);
}

/// Removes some objects, and adds others.
fn change(draw: &mut Draw, all: &mut Vec<Object>, size: usize) {
    all.retain(|_| !draw.chance(30));
    for _ in 0..draw.below(size) {
        let is_network = draw.chance(50);
        let make = if is_network { objects::network_object } else { objects::cluster_object };
        all.push(make(draw));
    }
}

fn ports(draw: &mut Draw) -> BTreeSet<NamedPort> {
    let port = |draw: &mut Draw| NamedPort {
        name: draw.text(&PORT_NAMES),
        protocol: *draw.one(&PROTOCOLS),
        number: *draw.one(&PORTS),
    };
    draw.many(0, 6, port).into_iter().collect()
}

/// Which sets share numbers, and the numbers that they may have.
fn range_of(set: &Set) -> (Option<String>, std::ops::Range<u32>) {
    match set {
        Set::Network(_) => (None, 0..NETWORK_GROUPS),
        Set::Pods { tenant: Some(tenant), .. } => (Some(tenant.clone()), TENANT_GROUPS..MAX_GROUPS),
        Set::Pods { tenant: None, .. } | Set::Block { .. } => (None, NETWORK_GROUPS..TENANT_GROUPS),
    }
}

/// Sets by the tenant that has numbers of its own and by their number, of which each has one set.
fn by_number(groups: &Groups) -> BTreeMap<(Option<String>, u32), &Set> {
    let mut found = BTreeMap::new();
    for (set, number) in groups.iter() {
        let (tenant, range) = range_of(set);
        assert!(range.contains(&number), "{number} of {set:?}");
        let other = found.insert((tenant, number), set);
        assert!(other.is_none(), "{number} is of {set:?} and of {other:?}");
    }
    found
}

/// Checks a change, and counts the sets that were there before and those that are new.
fn check(
    before: &Groups,
    after: &Groups,
    objects: &[Object],
    ports: &BTreeSet<NamedPort>,
) -> (usize, usize) {
    let had: BTreeMap<_, _> = before.iter().collect();
    let (numbers_before, numbers_after) = (by_number(before), by_number(after));
    for (key, set) in &numbers_after {
        let other = numbers_before.get(key).filter(|other| *other != set);
        assert!(other.is_none(), "{key:?} was of {other:?}, and is of {set:?}");
    }
    for (set, number) in after.iter() {
        let former = had.get(set).copied().unwrap_or(number);
        assert_eq!(former, number, "the number of {set:?}");
    }
    let has: BTreeSet<_> = after.iter().map(|(set, _)| set).collect();
    let alone = Groups::default().renew(objects, ports).unwrap();
    assert_eq!(has, alone.iter().map(|(set, _)| set).collect(), "sets without a history");
    let kept = has.iter().filter(|set| had.contains_key(**set)).count();
    (kept, has.len() - kept)
}

/// Checks that a change is refused only where the sets before and after it have too few numbers together.
fn check_refusal(
    before: &Groups,
    objects: &[Object],
    ports: &BTreeSet<NamedPort>,
    error: &CompileError,
) {
    let CompileError::Groups { most, .. } = error else { panic!("{error}") };
    // Without the sets before, there may be too many as well.
    let Ok(alone) = Groups::default().renew(objects, ports) else { return };
    let both: BTreeSet<_> = before.iter().chain(alone.iter()).map(|(set, _)| set).collect();
    let mut sizes = BTreeMap::new();
    for set in both {
        let (tenant, range) = range_of(set);
        *sizes.entry((tenant, range.start, range.len())).or_insert(0) += 1;
    }
    let has_too_many =
        |((_, _, range), size): (&(_, _, usize), &usize)| size > range && range == most;
    assert!(sizes.iter().any(has_too_many), "{error}: {sizes:?}");
}
