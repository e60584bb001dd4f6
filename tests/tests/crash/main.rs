//! The crash matrix: every verb and every background step is killed at every point between two of its
//! steps and then recovered, and the node is as it was. `docs/crash-safety.md` describes it.
#![cfg(test)]

mod agent;
mod background;
mod containers;
mod fixture;
mod hold;
mod matrix;
mod play;
mod points;
mod policies;
mod pools;
mod scenario;
mod state;
mod stored;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use repoint_tests::{missing, share::Share};

use fixture::executable;
use scenario::Scenario;

/// Everything that is played.
static SCENARIOS: [&[Scenario]; 5] =
    [&containers::ALL, &pools::ALL, &stored::ALL, &policies::ALL, &background::ALL];

/// A point that fewer plays pass depends on timing: one day none does.
const RARE: usize = 10;

fn is_skipped() -> bool {
    missing(["repoint-cni", "repoint", "repoint-agent"].map(executable))
}

#[test]
fn nothing_leaks_whatever_is_killed() -> Result<()> {
    if is_skipped() {
        return Ok(());
    }
    let share = matrix::share()?;
    let scenarios: Vec<_> = SCENARIOS.iter().flat_map(|some| some.iter()).collect();
    let tally = matrix::play(&scenarios, share);
    for (name, (time, count)) in &tally.times {
        println!("{name}: {count} combinations, {} ms each", time / (*count as u128).max(1));
    }
    let double = tally.double_owners();
    let (points, combinations) = (tally.points.len(), tally.combinations - tally.unmet);
    let leaks = tally.failures.len() - double;
    println!(
        "crash matrix: {points} failpoints, {combinations} combinations, {leaks} leaks, {double} \
         double owners ({} points not met)",
        tally.unmet
    );
    let rare: Vec<_> = tally.points.iter().filter(|(_, plays)| **plays < RARE).collect();
    println!("points that fewer than {RARE} plays passed: {rare:?}");
    ensure!(tally.unmet * 50 <= tally.combinations, "{} points were not met", tally.unmet);
    ensure!(tally.failures.is_empty(), "{} combinations failed", tally.failures.len());
    if matrix::is_whole() && share == Share::Whole {
        let source: BTreeSet<String> = points::in_source()?.into_keys().collect();
        let missed: Vec<_> =
            source.iter().filter(|name| !tally.points.contains_key(*name)).collect();
        ensure!(missed.is_empty(), "no scenario passes {missed:?}");
    } else {
        println!("passed: {:?}", tally.points);
    }
    Ok(())
}
