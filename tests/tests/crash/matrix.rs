//! All scenarios, at all points, with all recoveries.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};
use repoint_tests::{Node, share::Share};

use crate::{
    fixture::Point,
    play::Runner,
    scenario::{Recovery, Scenario, Start},
};

/// Threads that play: a sweep waits more than it works.
pub const THREADS: usize = 2;
/// Combinations of a scenario that are played on one node.
const CHUNK: usize = 24;
/// In how many parts CI plays the matrix.
const PARTS: u64 = 3;

/// A scenario, where it is killed, and how that is recovered.
#[derive(Debug, Clone)]
pub struct Combination {
    pub scenario: &'static Scenario,
    pub point: Point,
    pub recovery: Recovery,
}

impl Combination {
    pub fn name(&self) -> String {
        let Point { name, number } = &self.point;
        format!("{}/{name}#{number}/{}", self.scenario.name, self.recovery.name())
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Points that were passed, and how often; a scenario's first play counts like a combination.
    pub points: BTreeMap<String, usize>,
    pub combinations: usize,
    /// Those of them in which the point was not passed: with what the kernel does by itself meanwhile,
    /// there was nothing to do.
    pub unmet: usize,
    /// What failed, and how.
    pub failures: Vec<(String, String)>,
    /// Time that each scenario took, in thread-milliseconds, and its combinations.
    pub times: BTreeMap<&'static str, (u128, usize)>,
}

impl Tally {
    /// Counts points that one play passed.
    fn pass(&mut self, trace: impl IntoIterator<Item = String>) {
        for name in trace.into_iter().collect::<BTreeSet<_>>() {
            *self.points.entry(name).or_default() += 1;
        }
    }

    /// Failures in which something had two owners.
    pub fn double_owners(&self) -> usize {
        self.failures.iter().filter(|(_, why)| why.contains("two owners")).count()
    }
}

/// Whether the environment asks for this one, or for all: `REPOINT_CRASH`, the beginning of a name.
pub fn is_wanted(name: &str) -> bool {
    env::var("REPOINT_CRASH")
        .map_or(true, |wanted| name.starts_with(&wanted) || wanted.starts_with(&format!("{name}/")))
}

/// Whether the environment asks for nothing in particular.
pub fn is_whole() -> bool {
    env::var_os("REPOINT_CRASH").is_none()
}

/// What is played of the combinations: those that the environment names, or else a share.
pub fn share() -> Result<Share> {
    if is_whole() { Share::drawn(PARTS) } else { Ok(Share::Whole) }
}

/// Plays a share of everything.
pub fn play(scenarios: &[&'static Scenario], share: Share) -> Tally {
    let tally = Mutex::new(Tally::default());
    let (todo, chunks) = (Mutex::new(VecDeque::new()), Mutex::new(VecDeque::new()));
    *lock(&todo) = scenarios.iter().copied().filter(|one| is_wanted(one.name)).collect();
    on_threads(|| {
        while let Some(scenario) = next(&todo) {
            match learn(scenario) {
                Ok(points) => {
                    let mut tally = lock(&tally);
                    tally.pass(points.iter().map(|point| point.name.clone()));
                    let all = combinations(scenario, &points, share);
                    lock(&chunks).extend(all.chunks(CHUNK).map(<[_]>::to_vec));
                }
                Err(error) => fail(&tally, scenario.name.to_owned(), &error),
            }
        }
    });
    on_threads(|| {
        while let Some(chunk) = next(&chunks) {
            play_chunk(chunk, &tally);
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn on_threads(work: impl Fn() + Sync) {
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(&work))));
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    lock(queue).pop_front()
}

fn fail(tally: &Mutex<Tally>, name: String, error: &anyhow::Error) {
    println!("{name}: {error:#}");
    lock(tally).failures.push((name, format!("{error:#}")));
}

/// The points that a scenario passes that is played without a kill.
pub fn trace(scenario: &'static Scenario) -> Result<Vec<String>> {
    let node = Node::new()?;
    node.run(|| {
        let runner = Runner::new(scenario, &node)?;
        let trace = runner.play(None, None)?.trace;
        if scenario.start == Start::Used {
            runner.unload()?;
        }
        Ok(trace)
    })
}

/// Where a scenario is to be killed: at each point that it passes, the first and the last time, and
/// around each transaction.
fn learn(scenario: &'static Scenario) -> Result<Vec<Point>> {
    let trace = trace(scenario)?;
    let mut passed: BTreeMap<String, usize> = BTreeMap::new();
    for name in trace {
        *passed.entry(name).or_default() += 1;
    }
    let numbers = |name: &str, last: usize| {
        let all = name.starts_with("store:") && last <= 4;
        if all { (1..=last).collect() } else { BTreeSet::from([1, last]) }
    };
    let points = passed.into_iter().flat_map(|(name, last)| {
        let point = |number| Point { name: name.clone(), number };
        numbers(&name, last).into_iter().map(point).collect::<Vec<_>>()
    });
    Ok(points.collect())
}

fn combinations(scenario: &'static Scenario, points: &[Point], share: Share) -> Vec<Combination> {
    let recoveries = scenario.about.recoveries();
    let all = points.iter().flat_map(|point| {
        recoveries.iter().map(|recovery| Combination {
            scenario,
            point: point.clone(),
            recovery: *recovery,
        })
    });
    all.filter(|one| is_wanted(&one.name()) && share.has(&one.name())).collect()
}

/// Plays combinations of one scenario, on one node as long as nothing is left on it, or on one each
/// where it has to be fresh.
fn play_chunk(chunk: Vec<Combination>, tally: &Mutex<Tally>) {
    let mut chunk: VecDeque<_> = chunk.into();
    while let Some(scenario) = chunk.front().map(|one| one.scenario) {
        let (begun, left) = (Instant::now(), chunk.len());
        let played = play_on_one_node(scenario, &mut chunk, tally);
        if let Err(error) = played {
            let what = chunk.pop_front().map_or_else(String::new, |one| one.name());
            fail(tally, what, &error);
        }
        let mut tally = lock(tally);
        let time = tally.times.entry(scenario.name).or_default();
        time.0 += begun.elapsed().as_millis();
        time.1 += left - chunk.len();
        tally.combinations += left - chunk.len();
    }
}

fn play_on_one_node(
    scenario: &'static Scenario,
    chunk: &mut VecDeque<Combination>,
    tally: &Mutex<Tally>,
) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let runner = Runner::new(scenario, &node)?;
        while let Some(one) = chunk.front() {
            let played = runner.play(Some(&one.point), Some(one.recovery))?;
            {
                let mut tally = lock(tally);
                tally.unmet += usize::from(!played.met);
                tally.pass(played.trace);
            }
            chunk.pop_front();
            if scenario.start == Start::Fresh {
                return Ok(());
            }
        }
        runner.unload().context("unload")
    })
}
