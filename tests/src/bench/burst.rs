//! Many calls at once.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use super::{
    contestant::{Contestant, Operation},
    fence::{Pace, links, until_links},
    stats::{Summary, all_microseconds},
    timed::Timed,
};
use crate::{Netns, Node};

/// Calls at once.
pub const SIZE: usize = 50;
/// Bursts of each operation of each contestant.
pub const BURSTS: usize = 5;

/// Bursts of one operation of one contestant.
#[derive(Debug, Clone, Serialize)]
pub struct Burst {
    /// Name of the contestant.
    pub contestant: &'static str,
    /// What was done many times at once.
    pub operation: Operation,
    /// From the start of a burst until its last call has ended.
    pub wall: Summary,
    /// The calls of all bursts.
    pub call: Summary,
    /// Each burst's time.
    #[serde(rename = "walls_us", serialize_with = "all_microseconds")]
    pub walls: Vec<Duration>,
}

/// Measures all plugins by turns, in random order: a burst of ADDs and then one of DELs.
pub(super) fn run(node: &Node, contestants: &[Contestant], pace: &mut Pace) -> Result<Vec<Burst>> {
    eprintln!("burst: {BURSTS} bursts of {SIZE} ADDs and {SIZE} DELs");
    let mut lanes: Vec<Lane<'_>> = contestants
        .iter()
        .filter(|contestant| contestant.configuration.is_some())
        .map(Lane::new)
        .collect();
    node.run(|| {
        let before = links()?;
        let containers: Vec<Netns> = (1..=SIZE)
            .map(|number| Netns::create(&format!("burst-{number}")))
            .collect::<Result<_>>()?;
        for _ in 0..BURSTS {
            let mut order: Vec<&mut Lane<'_>> = lanes.iter_mut().collect();
            pace.shuffle(&mut order);
            for lane in order {
                lane.turn(&containers, pace)?;
            }
        }
        drop(containers);
        until_links(before)
    })?;
    let bursts: Vec<[Burst; 2]> = lanes.into_iter().map(Lane::bursts).collect::<Result<_>>()?;
    Ok(bursts.into_iter().flatten().collect())
}

/// A contestant and what was measured of it.
struct Lane<'a> {
    contestant: &'a Contestant,
    adds: Times,
    dels: Times,
}

#[derive(Default)]
struct Times {
    walls: Vec<Duration>,
    calls: Vec<Duration>,
}

impl<'a> Lane<'a> {
    fn new(contestant: &'a Contestant) -> Self {
        Self { contestant, adds: Times::default(), dels: Times::default() }
    }

    fn turn(&mut self, containers: &[Netns], pace: &mut Pace) -> Result<()> {
        pace.settle()?;
        self.adds.extend(at_once(&calls(self.contestant, Operation::Add, containers))?);
        pace.settle()?;
        self.dels.extend(at_once(&calls(self.contestant, Operation::Del, containers))?);
        Ok(())
    }

    fn bursts(self) -> Result<[Burst; 2]> {
        let Self { contestant, adds, dels } = self;
        Ok([adds.burst(contestant, Operation::Add)?, dels.burst(contestant, Operation::Del)?])
    }
}

impl Times {
    fn extend(&mut self, (wall, calls): (Duration, Vec<Duration>)) {
        self.walls.push(wall);
        self.calls.extend(calls);
    }

    fn burst(self, contestant: &Contestant, operation: Operation) -> Result<Burst> {
        Ok(Burst {
            contestant: contestant.name,
            operation,
            wall: Summary::of(&self.walls).context("no burst")?,
            call: Summary::of(&self.calls).context("no call")?,
            walls: self.walls,
        })
    }
}

fn calls(contestant: &Contestant, operation: Operation, containers: &[Netns]) -> Vec<Timed> {
    containers
        .iter()
        .map(|netns| {
            let container_id = netns.path().file_name().unwrap_or_default().to_string_lossy();
            Timed::new(contestant, operation, &container_id, netns.path())
        })
        .collect()
}

/// Makes all calls at once, each in a thread of its own, which is in the caller's namespaces. Gives
/// the time from the start of the first until the end of the last, and each one's.
///
/// The threads take the time: with more of them than CPUs, a thread that only watches may run again
/// when some calls have ended.
fn at_once(calls: &[Timed]) -> Result<(Duration, Vec<Duration>)> {
    let barrier = &Barrier::new(calls.len());
    let timed = |call: &Timed| {
        barrier.wait();
        let start = Instant::now();
        let duration = call.run()?;
        Ok((start, Instant::now(), duration))
    };
    let spans: Vec<(Instant, Instant, Duration)> = thread::scope(|scope| {
        let threads: Vec<_> = calls.iter().map(|call| scope.spawn(move || timed(call))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
            .collect::<Result<_>>()
    })?;
    let first = spans.iter().map(|(start, ..)| *start).min().context("no calls")?;
    let last = spans.iter().map(|(_, end, _)| *end).max().context("no calls")?;
    Ok((last - first, spans.into_iter().map(|(.., duration)| duration).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_lasts_as_long_as_its_longest_call() {
        let program = Contestant { name: "true", program: "/bin/true".into(), configuration: None };
        let call = || Timed::new(&program, Operation::Exec, "none", "".as_ref());
        let calls: Vec<Timed> = (0..SIZE).map(|_| call()).collect();
        let (wall, durations) = at_once(&calls).unwrap();
        let longest = durations.iter().max().unwrap();
        assert_eq!(durations.len(), SIZE);
        assert!(wall >= *longest, "{wall:?} {longest:?}");
    }
}
