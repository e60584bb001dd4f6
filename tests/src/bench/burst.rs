//! Many calls at once.

use std::{
    ptr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use super::{
    contestant::{ALONE, Contestant, FLOOR, OWN, Operation, WARM},
    fence::{Pace, links, until_links},
    nodes::Nodes,
    pool::Pool,
    stats::{Summary, all_microseconds},
    timed::Timed,
};
use crate::{Netns, Node, cli::Pool as Status};

/// Calls at once of every contestant.
pub const SIZE: usize = 50;
/// Calls at once of the floor, and of ours with a pool.
pub const CROWD: usize = 200;
/// Bursts of each operation of each contestant.
pub const BURSTS: usize = 5;

/// Bursts of one operation of one contestant.
#[derive(Debug, Clone, Serialize)]
pub struct Burst {
    /// Name of the contestant.
    pub contestant: &'static str,
    /// What was done many times at once.
    pub operation: Operation,
    /// How many times at once.
    pub size: usize,
    /// From the start of a burst until its last call has ended.
    pub wall: Summary,
    /// The calls of all bursts.
    pub call: Summary,
    /// Each burst's time.
    #[serde(rename = "walls_us", serialize_with = "all_microseconds")]
    pub walls: Vec<Duration>,
}

/// Finds the bursts of an operation.
#[must_use]
pub fn find<'a>(
    bursts: &'a [Burst],
    contestant: &str,
    operation: Operation,
    size: usize,
) -> Option<&'a Burst> {
    bursts.iter().find(|burst| {
        burst.contestant == contestant && burst.operation == operation && burst.size == size
    })
}

/// Measures bursts of all contestants, and then larger ones of some.
pub(super) fn run(
    nodes: &Nodes,
    contestants: &[Contestant],
    pace: &mut Pace,
) -> Result<Vec<Burst>> {
    // So many containers of one function are no other case than those of many functions.
    let all: Vec<&Contestant> =
        contestants.iter().filter(|one| ![OWN, ALONE].contains(&one.name)).collect();
    grow_pools(nodes, &all)?;
    let mut bursts = series(nodes, &all, SIZE, pace)?;
    let crowd: Vec<&Contestant> =
        all.into_iter().filter(|contestant| [FLOOR, WARM].contains(&contestant.name)).collect();
    bursts.extend(series(nodes, &crowd, CROWD, pace)?);
    Ok(bursts)
}

/// Has the pools hold a slot for each container of the largest burst.
fn grow_pools(nodes: &Nodes, contestants: &[&Contestant]) -> Result<()> {
    let Some(node) = nodes.pooled() else {
        return Ok(());
    };
    let pools = contestants.iter().filter_map(|contestant| Pool::of(contestant, node));
    let pools: Vec<Pool<'_>> = pools.collect();
    node.run(|| {
        pools.iter().try_for_each(|pool| {
            pool.resize(CROWD)?;
            pool.until_full()
        })
    })
}

/// Measures contestants in turn, in random order: a burst of the first operation of each and then
/// one of its second.
fn series(
    nodes: &Nodes,
    contestants: &[&Contestant],
    size: usize,
    pace: &mut Pace,
) -> Result<Vec<Burst>> {
    eprintln!("burst: {BURSTS} bursts of {size} calls of each operation");
    let yards: Vec<Fixture<'_>> =
        nodes.all().map(|node| Fixture::new(node, size)).collect::<Result<_>>()?;
    let mut lanes: Vec<Lane<'_>> = contestants
        .iter()
        .map(|contestant| Lane::new(contestant, nodes.of(contestant), &yards))
        .collect::<Result<_>>()?;
    for _ in 0..BURSTS {
        let mut order: Vec<&mut Lane<'_>> = lanes.iter_mut().collect();
        pace.shuffle(&mut order);
        for lane in order {
            lane.turn(pace)?;
        }
    }
    let bursts: Vec<Vec<Burst>> = lanes.into_iter().map(Lane::bursts).collect::<Result<_>>()?;
    yards.into_iter().try_for_each(Fixture::clear)?;
    Ok(bursts.concat())
}

/// A node's containers.
struct Fixture<'a> {
    node: &'a Node,
    containers: Vec<Netns>,
    /// Links that the node had before.
    links: usize,
}

impl<'a> Fixture<'a> {
    fn new(node: &'a Node, size: usize) -> Result<Self> {
        node.run(|| {
            let links = links()?;
            let containers = (1..=size).map(|number| Netns::create(&format!("cni-burst-{number}")));
            Ok(Self { node, containers: containers.collect::<Result<_>>()?, links })
        })
    }

    fn clear(self) -> Result<()> {
        let Self { node, containers, links } = self;
        node.run(|| {
            drop(containers);
            until_links(links)
        })
    }
}

/// A contestant and what was measured of it.
struct Lane<'a> {
    contestant: &'a Contestant,
    fixture: &'a Fixture<'a>,
    pool: Option<(Pool<'a>, Status)>,
    times: Vec<Times>,
}

#[derive(Default)]
struct Times {
    walls: Vec<Duration>,
    calls: Vec<Duration>,
}

impl<'a> Lane<'a> {
    fn new(contestant: &'a Contestant, node: &'a Node, yards: &'a [Fixture<'a>]) -> Result<Self> {
        let fixture =
            yards.iter().find(|fixture| ptr::eq(fixture.node, node)).context("no such node")?;
        let pool = Pool::of(contestant, node);
        let pool = pool.map(|pool| node.run(|| pool.status()).map(|status| (pool, status)));
        let times = contestant.operations().iter().map(|_| Times::default()).collect();
        Ok(Self { contestant, fixture, pool: pool.transpose()?, times })
    }

    fn turn(&mut self, pace: &mut Pace) -> Result<()> {
        let Self { contestant, fixture, pool, times } = self;
        fixture.node.run(|| {
            for (&operation, times) in contestant.operations().iter().zip(times) {
                pace.settle()?;
                times.extend(at_once(&calls(contestant, operation, &fixture.containers))?);
            }
            pool.as_ref().map_or(Ok(()), |(pool, _)| pool.until_at_rest())
        })
    }

    fn bursts(self) -> Result<Vec<Burst>> {
        let Self { contestant, fixture, pool, times } = self;
        if let Some((pool, before)) = pool {
            let adds = times.first().map_or(0, |times| times.calls.len());
            fixture.node.run(|| pool.require_hits(&before, adds))?;
        }
        let size = fixture.containers.len();
        let operations = contestant.operations().iter();
        operations
            .zip(times)
            .map(|(&operation, times)| times.burst(contestant, operation, size))
            .collect()
    }
}

impl Times {
    fn extend(&mut self, (wall, calls): (Duration, Vec<Duration>)) {
        self.walls.push(wall);
        self.calls.extend(calls);
    }

    fn burst(self, contestant: &Contestant, operation: Operation, size: usize) -> Result<Burst> {
        Ok(Burst {
            contestant: contestant.name,
            operation,
            size,
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
