//! Endurance: thousands of containers that come and go on a node with a pool and an agent, and what
//! grows meanwhile.
//!
//! The run is cut into stretches. Between two of them no container is there, and everything is read
//! ([`sample`]); what is read again and again is a [`series`], which must be flat over the second half
//! of the run.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};

mod database;
mod kernel;
pub mod load;
mod page;
mod place;
mod plot;
mod process;
pub mod reading;
pub mod report;
pub mod sample;
pub mod series;
pub mod table;

use crate::{
    Agent, Pooled,
    bench::{machine::Machine, stats::Summary},
    node::Uplink,
    with_network,
};
use load::{Load, Took};
use report::Report;
use sample::Sample;

/// How often the agent sweeps, so that a run has a hundred sweeps.
pub const SWEEPING: Duration = Duration::from_secs(2);
/// Slab caches that are reported.
const CACHES: usize = 10;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// ADDs with their DELs that count.
    pub pairs: usize,
    /// Stretches, with a reading after each.
    pub stretches: usize,
}

/// Runs on a node of its own, on which nothing may be left in the end.
pub fn run(plan: Plan) -> Result<Report> {
    let stretch = plan.pairs / plan.stretches.max(1);
    ensure!(stretch > 0, "{} pairs are less than {} stretches", plan.pairs, plan.stretches);
    let machine = Machine::here()?;
    let mut run = None;
    with_network(
        Uplink::FIRST,
        |configuration| configuration["pool"] = load::pool(),
        |pooled| {
            let agent = pooled.agent_sweeping(SWEEPING)?;
            run = Some(endure(pooled, &agent, plan.stretches, stretch)?);
            agent.stop()
        },
    )?;
    let run = run.context("it did not run: executables are missing")?;
    Ok(Report::new(machine, run))
}

/// What a run came to.
pub(crate) struct Run {
    samples: Vec<Sample>,
    adds: Summary,
    dels: Summary,
    busy: Duration,
    outcomes: BTreeMap<String, u64>,
}

fn endure(pooled: &Pooled<'_>, agent: &Agent, stretches: usize, stretch: usize) -> Result<Run> {
    let load = Load::new(pooled)?;
    // What the node keeps from the first container on is no growth.
    let warm_up = load.run(stretch)?;
    let before = place::outcomes(pooled)?;
    let (first, mut census) = Sample::take(pooled, agent.pid(), (0, &warm_up), None)?;
    let (mut samples, mut all) = (vec![first], Took::default());
    for number in 1..=stretches {
        let took = load.run(stretch)?;
        let pairs = number * stretch;
        let sample = Sample::take(pooled, agent.pid(), (pairs, &took), Some(&census))?;
        samples.push(sample.0);
        census = sample.1;
        eprintln!("endurance: {pairs} pairs, the last {stretch} in {:?}", took.wall);
        all.wall += took.wall;
        all.adds.extend(took.adds);
        all.dels.extend(took.dels);
    }
    let mut outcomes = place::outcomes(pooled)?;
    outcomes.retain(|outcome, count| {
        *count -= before.get(outcome).copied().unwrap_or(0);
        *count > 0
    });
    Ok(Run {
        samples,
        adds: Summary::of(&all.adds).context("no ADD")?,
        dels: Summary::of(&all.dels).context("no DEL")?,
        busy: all.wall,
        outcomes,
    })
}
