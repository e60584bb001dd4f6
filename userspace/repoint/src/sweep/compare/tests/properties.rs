//! What holds of any node.

use super::{wrong::*, *};

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
            // A missing data plane or interface hides further findings, and a slot has one finding of a kind.
            if !matches!(kind, Kind::Pin | Kind::SlotLink) && expected.iter().all(|(other, _)| *other != kind) {
                change(&mut seen);
                expected.push((kind, remedy as Expected));
            }
        }
        let findings = found(&seen);
        // The entries of a waiting slot without its programs are found once it has them.
        let waits = |remedy: Remedy| findings.iter().any(|one| {
            let slot = of(&seen, 3);
            one.remedy == Remedy::Attach(version(&slot)) && remedy == Remedy::Point(version(&slot))
        });
        let found: Vec<_> = findings.iter().map(|one| one.kind).collect();
        for (kind, remedy) in expected {
            prop_assert!(waits(remedy(&seen)) || found.contains(&kind), "no {:?} in {:?}", kind, found);
        }
    }

    /// Slots that another process works on.
    #[test]
    fn what_the_maps_say_of_a_slot_on_its_way_is_no_finding(
        slots in any_slots(), index in 0..40_usize, identity in 0..9_u32,
    ) {
        use SlotState::{Building, Claimed, Deleting};
        let mut seen = node(slots);
        let slots = &seen.records.slots;
        let Some(slot) = slots.get(index % slots.len().max(1)).cloned() else { return Ok(()) };
        prop_assume!(matches!(slot.state(), Building | Claimed | Deleting));
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
