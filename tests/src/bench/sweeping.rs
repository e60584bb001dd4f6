//! Sweeps of a node with thousands of healthy slots, and ADDs beside them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

mod beside;
mod process;
mod reboot;

pub use beside::{BLOCK, BLOCKS, Beside, Calls, PASSES, UNINTERRUPTED};

use super::{
    contestant::Contestant,
    fence::Pace,
    pool::Pool,
    stats::{Summary, microseconds},
};
use crate::Node;
use process::Process;

/// Sweeps that are timed.
pub const SWEEPS: usize = 20;

/// What sweeping costs.
#[derive(Debug, Clone, Serialize)]
pub struct Sweeping {
    /// Slots, all of them healthy.
    pub slots: usize,
    /// `repoint sweep`: the whole process.
    pub sweep: Summary,
    /// The longest of them.
    #[serde(rename = "longest_us", serialize_with = "microseconds")]
    pub longest: Duration,
    /// Its time on a CPU, the kernel's part included.
    pub cpu: Summary,
    /// Longest time for which each sweep blocked the database's writers.
    pub locked: Summary,
    /// The longest of these.
    #[serde(rename = "longest_locked_us", serialize_with = "microseconds")]
    pub longest_locked: Duration,
    /// ADDs beside sweeps, and without any.
    pub beside: Beside,
    /// The first sweep after a reboot that kept the database: it forgets all slots.
    pub after_reboot: Summary,
}

/// Sweeps in the calling thread's namespaces, where no agent is.
pub(super) fn run(
    node: &Node,
    [floor, warm]: [&Contestant; 2],
    pool: &Pool<'_>,
    slots: usize,
    pace: &mut Pace,
) -> Result<Sweeping> {
    eprintln!("sweeping: {slots} slots");
    let sweeps = healthy(node, pace)?;
    let beside = beside::run(node, [floor, warm], pool, pace)?;
    let after_reboot = reboot::run(node, pool.network())?;
    let of = |time: fn(&Process) -> Duration| -> Result<(Summary, Duration)> {
        let times: Vec<Duration> = sweeps.iter().map(time).collect();
        let longest = times.iter().max().copied();
        Summary::of(&times).zip(longest).context("no sweep was timed")
    };
    let (sweep, longest) = of(|sweep| sweep.wall)?;
    let (locked, longest_locked) = of(|sweep| sweep.locked)?;
    let (cpu, _) = of(|sweep| sweep.cpu)?;
    Ok(Sweeping { slots, sweep, longest, cpu, locked, longest_locked, beside, after_reboot })
}

/// Sweeps that must find nothing.
fn healthy(node: &Node, pace: &mut Pace) -> Result<Vec<Process>> {
    // The first one that looks at the node has to read what was never read.
    process::sweep(node)?;
    let mut sweeps = Vec::new();
    for _ in 0..SWEEPS {
        pace.settle()?;
        let sweep = process::sweep(node)?;
        ensure!(sweep.findings == 0, "a sweep of healthy slots has {} findings", sweep.findings);
        sweeps.push(sweep);
    }
    Ok(sweeps)
}
