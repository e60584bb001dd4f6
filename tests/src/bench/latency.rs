//! One call at a time on a quiet node.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::{
    contestant::{Contestant, OWN, Operation},
    fence::Pace,
    nodes::Nodes,
    pool::Pool,
    stats::{Summary, all_microseconds},
    timed::Timed,
};
use crate::{Netns, Node, cli::Pool as Status};

/// Rounds that do not count: files get into the page cache, kernel modules, tables and the bridge
/// into the kernel.
const WARM_UP: usize = 5;

/// One operation of one contestant.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// Name of the contestant.
    pub contestant: &'static str,
    /// What was timed.
    pub operation: Operation,
    /// Percentiles of `calls`.
    pub summary: Summary,
    /// Each call, in the order in which they were made.
    #[serde(rename = "calls_us", serialize_with = "all_microseconds")]
    pub calls: Vec<Duration>,
}

/// Finds the percentiles of an operation.
#[must_use]
pub fn find(latencies: &[Latency], contestant: &str, operation: Operation) -> Option<Summary> {
    latencies
        .iter()
        .find(|latency| latency.contestant == contestant && latency.operation == operation)
        .map(|latency| latency.summary)
}

/// Measures so many rounds. In each, all contestants do their first operation, one after the other
/// in random order, and then all their second.
///
/// A contestant has one namespace for all rounds: what is in it after DEL is `lo` alone.
pub(super) fn run(
    nodes: &Nodes,
    contestants: &[Contestant],
    rounds: usize,
    pace: &mut Pace,
) -> Result<Vec<Latency>> {
    eprintln!("latency: {WARM_UP} + {rounds} rounds");
    let lanes = contestants.iter().enumerate();
    let mut lanes: Vec<Lane<'_>> = lanes
        .map(|(number, contestant)| Lane::new(contestant, nodes.of(contestant), number))
        .collect::<Result<_>>()?;
    for round in 0..WARM_UP + rounds {
        self::round(&mut lanes, round, pace)?;
    }
    let latencies: Vec<Vec<Latency>> =
        lanes.into_iter().map(Lane::latencies).collect::<Result<_>>()?;
    Ok(latencies.concat())
}

/// A contestant, its container, and the calls of each of its operations.
struct Lane<'a> {
    contestant: &'a Contestant,
    node: &'a Node,
    netns: Netns,
    pool: Option<(Pool<'a>, Status)>,
    calls: Vec<Vec<Duration>>,
}

impl<'a> Lane<'a> {
    fn new(contestant: &'a Contestant, node: &'a Node, number: usize) -> Result<Self> {
        node.run(|| {
            // Named as containerd does.
            let netns = Netns::create(&format!("cni-latency-{number}"))?;
            let pool = Pool::of(contestant, node);
            if let Some(pool) = pool.as_ref().filter(|_| contestant.name == OWN) {
                first_turn(contestant, &netns, pool)?;
            }
            Ok(Self {
                contestant,
                node,
                netns,
                pool: pool.map(|pool| pool.status().map(|status| (pool, status))).transpose()?,
                calls: vec![Vec::new(); contestant.operations().len()],
            })
        })
    }

    /// One call of an operation. After DEL the agent has work, which no other call shall meet.
    fn turn(&mut self, step: usize, container_id: &str, pace: &mut Pace) -> Result<()> {
        let Some(&operation) = self.contestant.operations().get(step) else {
            return Ok(());
        };
        let call = Timed::new(self.contestant, operation, container_id, self.netns.path());
        let (pool, calls) = (&self.pool, &mut self.calls[step]);
        let alone = !self.contestant.has_agent();
        self.node.run(|| {
            pace.settle()?;
            calls.push(call.run()?);
            match pool {
                Some((pool, _)) if operation == Operation::Del && alone => pool.bring_back(),
                Some((pool, _)) if operation == Operation::Del => pool.until_at_rest(),
                _ => Ok(()),
            }
        })
    }

    fn latencies(self) -> Result<Vec<Latency>> {
        self.require_hits()?;
        let operations = self.contestant.operations().iter();
        operations
            .zip(self.calls)
            .map(|(&operation, mut calls)| {
                calls.drain(..WARM_UP);
                Ok(Latency {
                    contestant: self.contestant.name,
                    operation,
                    summary: Summary::of(&calls).context("no round was measured")?,
                    calls,
                })
            })
            .collect()
    }

    fn require_hits(&self) -> Result<()> {
        let Some((pool, before)) = &self.pool else {
            return Ok(());
        };
        let adds = self.calls[0].len();
        let now = self.node.run(|| pool.require_hits(before, adds))?;
        let reused = now.count("reused") - before.count("reused");
        let due = if self.contestant.name == OWN { u64::try_from(adds)? } else { 0 };
        ensure!(reused == due, "{reused} of {due} functions got their own slot: {now:?}");
        Ok(())
    }
}

/// Has a function's slot built, which it gets back from then on.
fn first_turn(contestant: &Contestant, netns: &Netns, pool: &Pool<'_>) -> Result<()> {
    for operation in contestant.operations() {
        Timed::new(contestant, *operation, "first", netns.path()).run()?;
    }
    pool.until_at_rest()
}

fn round(lanes: &mut [Lane<'_>], number: usize, pace: &mut Pace) -> Result<()> {
    let container_id = format!("latency-{number}");
    let steps = lanes.iter().map(|lane| lane.calls.len()).max().unwrap_or(0);
    for step in 0..steps {
        let mut order: Vec<&mut Lane<'_>> = lanes.iter_mut().collect();
        pace.shuffle(&mut order);
        for lane in order {
            lane.turn(step, &container_id, pace)?;
        }
    }
    Ok(())
}
