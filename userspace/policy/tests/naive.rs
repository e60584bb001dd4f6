//! Rules against a naive evaluator: random objects, functions and flows, which both must judge alike.
//!
//! `REPOINT_POLICY_SEED` repeats a seed, and `REPOINT_POLICY_CASES` sets the number of flows.
#![cfg(test)]

#[path = "naive/counts.rs"]
mod counts;
#[path = "naive/draw.rs"]
mod draw;
#[path = "naive/evaluate.rs"]
mod evaluate;
#[path = "naive/objects.rs"]
mod objects;
#[path = "naive/renew.rs"]
mod renew;
#[path = "naive/round_trip.rs"]
mod round_trip;
#[path = "naive/rules.rs"]
mod rules;
#[path = "naive/settings.rs"]
mod settings;
#[path = "naive/world.rs"]
mod world;

use counts::Counts;
use draw::Draw;
use rules::{Compared, RulesOf};
use world::World;

/// Flows without `REPOINT_POLICY_CASES`: about ten seconds without optimization.
const CASES: u64 = 100_000;
/// Flows between the functions of one world.
const FLOWS: u64 = 10;

#[test]
fn rules_judge_as_objects_are_defined() {
    let (seed, cases) = (settings::seed(), settings::cases(CASES));
    let (mut counts, mut judged, mut refused) = (Counts::default(), 0, 0);
    for case in 0..cases.div_ceil(FLOWS) {
        let mut draw = Draw::new(seed, case);
        let world = World::draw(&mut draw);
        let Ok(rules) = RulesOf::new(&world, &mut draw) else {
            refused += FLOWS;
            continue;
        };
        for _ in 0..FLOWS {
            let flow = world.flow(&mut draw);
            let wanted = evaluate::judge(&world, flow);
            let found = rules.judge(&world, flow);
            assert_eq!(
                Compared::from(&wanted),
                found,
                "world {case} of seed {seed}, {flow:?}; {world}; by definition {wanted:?}",
            );
            counts.add(flow, &wanted, |place| world.has_tenant(place));
            judged += 1;
        }
    }
    println!(
        "{judged} flows judged alike, {refused} not judged: too many rules or groups\n{counts}"
    );
    assert!(
        refused * 100 <= 3 * cases,
        "{refused} of {cases} flows are of objects that do not compile"
    );
    if cases >= 10_000 {
        let rare = counts.rare(cases / 2_000);
        assert!(rare.is_empty(), "seldom seen: {rare:?}");
    }
}
