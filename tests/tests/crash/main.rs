//! The crash matrix: every verb and every background step is killed at every point between two of its
//! steps and then recovered, and the node is as it was. `docs/crash-safety.md` tells of it.
#![cfg(test)]

mod agent;
mod containers;
mod ground;
mod matrix;
mod play;
mod scenario;
mod state;

use anyhow::{Result, ensure};
use repoint_tests::missing;

use ground::executable;

#[test]
fn nothing_leaks_whatever_is_killed() -> Result<()> {
    if missing(["repoint-cni", "repoint", "repoint-agent"].map(executable)) {
        return Ok(());
    }
    let scenarios: Vec<_> = containers::ALL.iter().collect();
    let tally = matrix::play(&scenarios);
    for (name, (time, count)) in &tally.times {
        println!("{name}: {count} combinations, {} ms each", time / (*count as u128).max(1));
    }
    let double = tally.double_owners();
    println!(
        "crash matrix: {} failpoints, {} combinations, {} leaks, {double} double owners",
        tally.points.len(),
        tally.combinations,
        tally.failures.len() - double,
    );
    ensure!(tally.failures.is_empty(), "{} combinations failed", tally.failures.len());
    Ok(())
}
