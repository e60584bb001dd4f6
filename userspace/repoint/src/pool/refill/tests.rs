use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy(warm: u32, max: u32) -> PoolPolicy {
    PoolPolicy { warm, max, ..PoolPolicy::default() }
}

fn supply(warm: u32, parked: u32, busy: u32) -> Supply {
    Supply { warm, parked, total: warm + parked + busy }
}

fn decide(policy: PoolPolicy, supply: Supply, demand: &Demand) -> Plan {
    plan(&policy, supply, &mut demand.clone(), SECOND)
}

/// `rate` ADDs a second for a time, seen by a look every so often.
fn observe(demand: &mut Demand, rate: f64, time: Duration, look: Duration) {
    let (mut seen, mut passed) = (0, Duration::ZERO);
    while passed < time {
        passed += look;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let until_now = (rate * passed.as_secs_f64()).round() as u64;
        demand.observe(until_now - seen, look);
        seen = until_now;
    }
}

fn steady(rate: f64) -> Demand {
    let mut demand = Demand::default();
    observe(&mut demand, rate, Duration::from_mins(1), LOOK);
    demand
}

#[test]
fn a_pool_is_filled_to_its_low_water_mark_and_no_further() {
    for (have, build) in [(0, 8), (5, 3), (8, 0), (20, 0)] {
        let plan = decide(policy(8, 100), supply(have, 0, 0), &Demand::default());
        let found = (plan.build(plan.room), plan.evict(), plan.drain);
        assert_eq!(found, (build, 0, 0), "{have} warm");
    }
}

#[test]
fn the_target_is_what_is_asked_for_until_the_next_refill_and_three_deviations() {
    let mut demand = steady(50.0);
    demand.built(1000, Duration::from_secs(2));
    // 2 ms each: a tenth of the time goes into building. 50 × 0.2 / 0.9 = 11.1, and 3 × 3.33.
    assert_eq!(decide(policy(1, 1000), supply(0, 0, 0), &demand).target, 22);
    // Slower building needs more, up to where it does not keep pace, and never beyond the maximum.
    demand.built(1000, Duration::from_secs(10));
    assert_eq!(decide(policy(1, 1000), supply(0, 0, 0), &demand).target, 34);
    demand.built(1000, Duration::from_secs(21));
    assert_eq!(decide(policy(1, 1000), supply(0, 0, 0), &demand).target, 1000);
}

#[test]
fn looks_that_are_far_apart_raise_the_target_and_building_is_not_counted_twice() {
    let (mut far, mut building) = (steady(50.0), steady(50.0));
    observe(&mut far, 50.0, Duration::from_mins(1), 2 * LOOK);
    assert_eq!(decide(policy(1, 1000), supply(0, 0, 0), &far).target, 38);
    let before = decide(policy(1, 1000), supply(0, 0, 0), &building).target;
    for _ in 0..100 {
        building.built(80, LOOK);
        observe(&mut building, 50.0, 2 * LOOK, 2 * LOOK);
    }
    assert_eq!(decide(policy(1, 1000), supply(0, 0, 0), &building).target, before);
}

#[test]
fn a_ramp_is_followed_within_a_second_and_a_pause_of_some_is_not_forgotten() {
    let mut demand = steady(10.0);
    observe(&mut demand, 100.0, SECOND, LOOK);
    assert!((60.0..70.0).contains(&demand.rate()), "{demand:?}");
    let mut demand = steady(50.0);
    observe(&mut demand, 0.0, Duration::from_secs(5), LOOK);
    assert!((29.0..31.0).contains(&demand.rate()), "{demand:?}");
}

#[test]
fn a_few_adds_within_milliseconds_are_no_rate() {
    let (mut often, mut seldom) = (Demand::default(), Demand::default());
    observe(&mut often, 10.0, Duration::from_secs(30), Duration::from_millis(2));
    observe(&mut seldom, 10.0, Duration::from_secs(30), LOOK);
    for demand in [often, seldom] {
        assert!((8.0..12.5).contains(&demand.rate()), "{demand:?}");
    }
    let mut demand = Demand::default();
    demand.observe(1, Duration::ZERO);
    assert!(demand.rate() <= 1.0, "{demand:?}");
}

#[test]
fn the_target_is_within_the_maximum_and_falls_when_demand_does() {
    let mut demand = steady(50.0);
    let plan = decide(policy(8, 20), supply(8, 0, 2), &demand);
    assert_eq!(plan.build(plan.room), 10);
    observe(&mut demand, 0.0, Duration::from_mins(2), LOOK);
    assert_eq!(decide(policy(8, 1000), supply(8, 0, 0), &demand).target, 8);
}

#[test]
fn a_surplus_goes_when_it_has_lasted() {
    let mut demand = Demand::default();
    for _ in 0..59 {
        assert_eq!(plan(&policy(8, 100), supply(20, 0, 0), &mut demand, SECOND).drain, 0);
    }
    assert_eq!(plan(&policy(8, 100), supply(20, 0, 0), &mut demand, SECOND).drain, 12);
    // A pool that is switched off is emptied at once.
    assert_eq!(decide(policy(0, 100), supply(20, 0, 0), &Demand::default()).drain, 20);
}

#[test]
fn parked_slots_make_room_for_ready_ones() {
    let plan = decide(policy(8, 100), supply(3, 90, 7), &Demand::default());
    assert_eq!((plan.evict(), plan.drain), (5, 0));
    for (room, build) in [(0, 0), (3, 3), (5, 5), (9, 5)] {
        assert_eq!(plan.build(room), build, "{room}");
    }
}

#[test]
fn more_than_the_maximum_is_deleted_parked_first_and_busy_never() {
    let plan = decide(policy(4, 10), supply(4, 3, 8), &Demand::default());
    assert_eq!((plan.evict(), plan.drain, plan.lack), (5, 2, 0));
    // Room for ready slots is made beyond that.
    let plan = decide(policy(4, 10), supply(0, 9, 4), &Demand::default());
    assert_eq!((plan.evict(), plan.excess, plan.lack), (7, 3, 4));
}
