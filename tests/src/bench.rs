//! The benchmark: what a network costs a container, as the runtime that waits for it sees it.
//!
//! Measurements of whole processes, from before they are made to after their end: [`latency`] of one call
//! on a quiet node, [`burst`]s of calls at once, [`growth`] of ADD with the number of attachments on a
//! node, and [`density`]: the same with the number of slots that wait; and of [`library`] calls, which
//! need no process. All contestants take turns within one run, in nodes of their own; no figure is
//! compared with that of another day.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub mod burst;
pub mod compared;
pub mod contestant;
pub mod density;
pub(crate) mod fence;
pub mod growth;
pub mod isolation;
pub mod latency;
pub mod library;
pub mod machine;
pub mod memory;
mod nodes;
pub mod page;
pub mod plot;
mod pool;
pub mod renewal;
pub mod replication;
pub mod report;
pub mod round_trips;
pub mod stats;
pub mod sweeping;
pub mod table;
pub mod targets;
mod timed;
pub mod trace;

use crate::Node;
use contestant::{Contestant, FLOOR, WARM};
use fence::Pace;
use nodes::Nodes;
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
    /// Whether to measure [`density`] and [`replication`].
    pub density: bool,
    /// Whether to measure [`renewal`].
    pub renewal: bool,
    /// Whether to measure [`round_trips`] and [`isolation`].
    pub traffic: bool,
}

/// Measures. Fails when a call of a contestant does, or when one that has a pool builds something: a
/// figure with failures in it would mean nothing.
pub fn run(plan: &Plan) -> Result<Report> {
    ensure!(plan.rounds > 0, "no rounds, nothing to measure");
    let node = Node::new()?;
    let all = contestant::all(node.dirs())?;
    let contestants = contestant::choose(all.clone(), &plan.only)?;
    let machine = machine::Machine::here()?;
    let mut pace = Pace::new(plan.seed);
    let nodes = Nodes::new(node, &contestants)?;
    let latencies = latency::run(&nodes, &contestants, plan.rounds, &mut pace)?;
    let warm = find(&contestants, WARM);
    let library = warm.map(|warm| library::run(warm, nodes.of(warm), &mut pace)).transpose()?;
    let trace = warm.map(|warm| trace::run(warm, nodes.of(warm))).transpose()?;
    let bursts = burst::run(&nodes, &contestants, &mut pace)?;
    nodes.end()?;
    let density = plan.density.then(|| density(&all, &mut pace)).transpose()?;
    let renewal = plan.renewal.then(|| renewal(&all)).transpose()?;
    let replication = replication(&all, plan, &mut pace)?;
    let round_trips = plan.traffic.then(|| round_trips(&all)).transpose()?;
    let isolation = plan.traffic.then(|| isolation(&all)).transpose()?;
    let growth = growth(&contestants, &mut pace)?;
    let mut report = Report {
        machine,
        rounds: plan.rounds,
        seed: plan.seed,
        targets: Vec::new(),
        contestants: configurations(&contestants),
        latencies,
        library,
        trace,
        bursts,
        density,
        renewal,
        replication,
        round_trips,
        isolation,
        growth,
    };
    report.targets = targets::judge(&report);
    Ok(report)
}

fn find<'a>(contestants: &'a [Contestant], name: &str) -> Option<&'a Contestant> {
    contestants.iter().find(|contestant| contestant.name == name)
}

fn density(all: &[Contestant], pace: &mut Pace) -> Result<density::Density> {
    let of = |name| find(all, name).with_context(|| format!("no contestant {name}"));
    density::run(of(FLOOR)?, of(WARM)?, pace)
}

fn renewal(all: &[Contestant]) -> Result<renewal::Renewal> {
    renewal::run(find(all, WARM).with_context(|| format!("no contestant {WARM}"))?)
}

fn round_trips(all: &[Contestant]) -> Result<round_trips::RoundTrips> {
    let name = round_trips::CONTESTANT;
    round_trips::run(find(all, name).with_context(|| format!("no contestant {name}"))?)
}

fn isolation(all: &[Contestant]) -> Result<isolation::Isolation> {
    isolation::run(find(all, WARM).with_context(|| format!("no contestant {WARM}"))?)
}

/// Measures replication with the contestant of [`density`], if the plan has that.
fn replication(
    all: &[Contestant],
    plan: &Plan,
    pace: &mut Pace,
) -> Result<Vec<replication::Replication>> {
    if !plan.density {
        return Ok(Vec::new());
    }
    replication::run(find(all, WARM).with_context(|| format!("no contestant {WARM}"))?, pace)
}

fn growth(contestants: &[Contestant], pace: &mut Pace) -> Result<Vec<growth::Growth>> {
    contestants
        .iter()
        .filter(|contestant| growth::MEASURED.contains(&contestant.name))
        .map(|contestant| growth::run(contestant, pace))
        .collect()
}

fn configurations(contestants: &[Contestant]) -> BTreeMap<&'static str, Value> {
    contestants
        .iter()
        .filter_map(|contestant| Some((contestant.name, contestant.configuration.clone()?)))
        .collect()
}
