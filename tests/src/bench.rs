//! The benchmark: what a network costs a container, as the runtime that waits for it sees it.
//!
//! Three measurements, each of whole processes from before they are made to after their end:
//! [`latency`] of one call on a quiet node, [`growth`] of ADD with the number of attachments on a
//! node, and [`burst`]s of calls at once. All contestants take turns within one run, in nodes of
//! their own; nothing is compared with a figure of another day.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::Node;

pub mod burst;
pub mod contestant;
mod fence;
pub mod growth;
pub mod latency;
pub mod machine;
pub mod plot;
pub mod report;
pub mod stats;
pub mod table;
pub mod targets;
mod timed;

use contestant::Contestant;
use fence::Pace;
use report::Report;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Rounds of [`latency`] that count. Each contestant does each of its operations once a round.
    pub rounds: usize,
    /// Decides the order of the contestants, which is another one in each round.
    pub seed: u64,
    /// Names of the contestants; empty for all.
    pub only: Vec<String>,
}

/// Measures. Fails when a call of a contestant does: a figure with failures in it would mean
/// nothing.
pub fn run(plan: &Plan) -> Result<Report> {
    ensure!(plan.rounds > 0, "no rounds, nothing to measure");
    let node = Node::new()?;
    let contestants = contestant::choose(contestant::all(node.dirs())?, &plan.only)?;
    let machine = machine::Machine::here()?;
    let mut pace = Pace::new(plan.seed);
    let latencies = latency::run(&node, &contestants, plan.rounds, &mut pace)?;
    let bursts = burst::run(&node, &contestants, &mut pace)?;
    drop(node);
    let growth = contestants
        .iter()
        .filter(|contestant| growth::MEASURED.contains(&contestant.name))
        .map(|contestant| growth::run(contestant, &mut pace))
        .collect::<Result<Vec<_>>>()?;
    Ok(Report {
        machine,
        rounds: plan.rounds,
        seed: plan.seed,
        targets: targets::judge(&latencies, &growth),
        contestants: configurations(&contestants),
        latencies,
        growth,
        bursts,
    })
}

fn configurations(contestants: &[Contestant]) -> BTreeMap<&'static str, Value> {
    contestants
        .iter()
        .filter_map(|contestant| Some((contestant.name, contestant.configuration.clone()?)))
        .collect()
}
