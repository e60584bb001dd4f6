//! One call at a time on a quiet node.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    contestant::{Contestant, Operation},
    fence::Pace,
    stats::{Summary, all_microseconds},
    timed::Timed,
};
use crate::{Netns, Node};

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
    node: &Node,
    contestants: &[Contestant],
    rounds: usize,
    pace: &mut Pace,
) -> Result<Vec<Latency>> {
    eprintln!("latency: {WARM_UP} + {rounds} rounds");
    node.run(|| {
        let mut lanes = lanes(contestants)?;
        for round in 0..WARM_UP + rounds {
            self::round(&mut lanes, round, pace)?;
        }
        let latencies: Vec<Vec<Latency>> =
            lanes.into_iter().map(Lane::latencies).collect::<Result<_>>()?;
        Ok(latencies.concat())
    })
}

/// A contestant, its container, and the calls of each of its operations.
struct Lane<'a> {
    contestant: &'a Contestant,
    netns: Netns,
    calls: Vec<Vec<Duration>>,
}

impl Lane<'_> {
    fn latencies(self) -> Result<Vec<Latency>> {
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
}

fn lanes(contestants: &[Contestant]) -> Result<Vec<Lane<'_>>> {
    contestants
        .iter()
        .enumerate()
        .map(|(number, contestant)| {
            Ok(Lane {
                contestant,
                netns: Netns::create(&format!("latency-{number}"))?,
                calls: vec![Vec::new(); contestant.operations().len()],
            })
        })
        .collect()
}

fn round(lanes: &mut [Lane<'_>], number: usize, pace: &mut Pace) -> Result<()> {
    let container_id = format!("latency-{number}");
    let steps = lanes.iter().map(|lane| lane.calls.len()).max().unwrap_or(0);
    for step in 0..steps {
        let mut order: Vec<&mut Lane<'_>> = lanes.iter_mut().collect();
        pace.shuffle(&mut order);
        for lane in order {
            let Some(&operation) = lane.contestant.operations().get(step) else {
                continue;
            };
            let call = Timed::new(lane.contestant, operation, &container_id, lane.netns.path());
            pace.settle()?;
            lane.calls[step].push(call.run()?);
        }
    }
    Ok(())
}
