use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};

use super::*;

const SECOND: u64 = 1_000_000_000;

/// Slot `number`, of function `function` of tenant `tenant`, parked at second `since`.
fn slot(number: u64, tenant: u8, function: u8, since: u64) -> Parked {
    Parked {
        slot: SlotId(number),
        tenant: [tenant; 8],
        function: [function; 8],
        since: since * SECOND,
        idle_ttl: None,
    }
}

fn forever() -> PoolPolicy {
    PoolPolicy { idle_ttl: None, ..PoolPolicy::default() }
}

fn evicted(parked: &[Parked], now: u64, policy: &PoolPolicy, room: u32) -> Vec<(u64, Reason)> {
    let evictions = evictions(parked, now * SECOND, policy, room);
    evictions.into_iter().map(|one| (one.slot.0, one.reason)).collect()
}

#[test]
fn a_slot_idles_as_long_as_its_user_or_else_the_pool_says() {
    let policy = PoolPolicy { idle_ttl: Some(Duration::from_mins(1)), ..PoolPolicy::default() };
    let reported = |number, ttl| Parked {
        idle_ttl: Some(Duration::from_secs(ttl)),
        ..slot(number, 1, 1, 100)
    };
    let parked = [slot(1, 1, 1, 100), reported(2, 30), reported(3, 90)];
    assert_eq!(evicted(&parked, 130, &policy, 0), []);
    assert_eq!(evicted(&parked, 131, &policy, 0), [(2, Reason::Idle)]);
    assert_eq!(evicted(&parked, 161, &policy, 0), [(1, Reason::Idle), (2, Reason::Idle)]);
    assert_eq!(evicted(&parked, 9999, &forever(), 0), [(2, Reason::Idle), (3, Reason::Idle)]);
    // A clock that was set back evicts nothing.
    assert_eq!(evicted(&parked, 0, &policy, 0), []);
}

#[test]
fn of_a_function_or_tenant_that_has_too_many_the_oldest_go() {
    let parked = [
        slot(1, 1, 1, 30),
        slot(2, 1, 1, 10),
        slot(3, 1, 1, 20),
        slot(4, 1, 2, 5),
        slot(5, 2, 1, 1),
    ];
    let policy = PoolPolicy { parked_per_function: Some(2), ..forever() };
    assert_eq!(evicted(&parked, 40, &policy, 0), [(2, Reason::Function)]);
    let policy = PoolPolicy { parked_per_tenant: Some(1), ..policy };
    let expected = [(4, Reason::Tenant), (2, Reason::Function), (3, Reason::Tenant)];
    assert_eq!(evicted(&parked, 40, &policy, 0), expected);
}

#[test]
fn slots_without_a_function_count_for_their_tenant_only() {
    let parked = [slot(1, 1, 0, 1), slot(2, 1, 0, 2)];
    let policy = PoolPolicy { parked_per_function: Some(1), ..forever() };
    assert_eq!(evicted(&parked, 9, &policy, 0), []);
    let policy = PoolPolicy { parked_per_tenant: Some(1), ..forever() };
    assert_eq!(evicted(&parked, 9, &policy, 0), [(1, Reason::Tenant)]);
}

#[test]
fn room_is_made_by_the_oldest_of_all_whosever_they_are() {
    let parked = [slot(1, 1, 1, 30), slot(2, 1, 2, 40), slot(3, 2, 1, 10), slot(4, 3, 1, 20)];
    let expected = [(3, Reason::Room), (4, Reason::Room)];
    assert_eq!(evicted(&parked, 50, &forever(), 2), expected);
    // Slots evicted for another reason make room as well.
    let policy = PoolPolicy { idle_ttl: Some(Duration::from_secs(35)), ..PoolPolicy::default() };
    let expected = [(3, Reason::Idle), (4, Reason::Room)];
    assert_eq!(evicted(&parked, 50, &policy, 2), expected);
}

prop_compose! {
    /// Parked slots as the index lists them.
    fn slots()(slots in vec((0..4_u8, 0..4_u8, 0..100_u64, option::of(1..100_u64)), 0..90))
        -> Vec<Parked>
    {
        let slots = (0..).zip(slots).map(|(number, (tenant, function, since, ttl))| Parked {
            idle_ttl: ttl.map(Duration::from_secs),
            ..slot(number, tenant, function, since)
        });
        let mut slots: Vec<_> = slots.collect();
        slots.sort_by_key(|slot| (slot.tenant, slot.function, slot.since, slot.slot));
        slots
    }
}

prop_compose! {
    fn limits()(
        ttl in option::of(1..100_u64),
        function in option::of(0..5_u32),
        tenant in option::of(0..20_u32),
    ) -> PoolPolicy {
        PoolPolicy {
            idle_ttl: ttl.map(Duration::from_secs),
            parked_per_function: function,
            parked_per_tenant: tenant,
            ..PoolPolicy::default()
        }
    }
}

proptest! {
    #[test]
    fn when_all_is_done_no_limit_is_exceeded_and_nothing_went_without_need(
        slots in slots(), policy in limits(), room in 0..50_u32
    ) {
        let now = 100 * SECOND;
        let (mut left, mut gone) = (slots.clone(), Vec::new());
        loop {
            let evicted = u32::try_from(gone.len()).unwrap();
            let some = evictions(&left, now, &policy, room.saturating_sub(evicted));
            prop_assert!(some.len() <= MOST_EVICTED);
            prop_assert!(some.is_sorted_by_key(|one| one.since));
            if some.is_empty() {
                break;
            }
            left.retain(|slot| some.iter().all(|one| one.slot != slot.slot));
            gone.extend(some);
        }
        prop_assert_eq!(left.len() + gone.len(), slots.len());
        prop_assert!(left.iter().all(|slot| !is_idle(slot, now, &policy)));
        prop_assert!(left.is_empty() || gone.len() >= room as usize);
        for slot in &left {
            let own = |other: &&Parked| other.tenant == slot.tenant;
            let function = |other: &&Parked| own(other) && other.function == slot.function;
            let within = |count: usize, most: Option<u32>| most.is_none_or(|most| count <= most as usize);
            prop_assert!(within(left.iter().filter(own).count(), policy.parked_per_tenant));
            prop_assert!(
                slot.function == NO_FUNCTION
                    || within(left.iter().filter(function).count(), policy.parked_per_function)
            );
            // The oldest go first: no slot that stays is older than a slot evicted for room.
            let newer = gone.iter().all(|one| {
                one.reason != Reason::Room || (one.since, one.slot) < (slot.since, slot.slot)
            });
            prop_assert!(newer, "{slot:?} stays");
        }
        let without_need = gone.iter().filter(|one| one.reason == Reason::Room).count();
        prop_assert!(without_need <= room as usize);
    }
}
