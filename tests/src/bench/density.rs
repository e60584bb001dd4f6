//! A node with thousands of slots that wait.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    contestant::{Contestant, Operation},
    fence::{Pace, until_namespaces_are_gone},
    memory::Memory,
    pool::Pool,
    stats::Summary,
    sweeping::{self, Sweeping},
    timed::Timed,
};
use crate::{Agent, Netns, Node};

/// Slots of the full node.
pub const MANY: usize = 4000;
/// Slots that it is compared with.
pub const FEW: usize = 10;
/// Calls with so many slots that count.
pub const ROUNDS: usize = 100;
/// Calls that do not.
const WARM_UP: usize = 10;

/// What the number of slots does.
#[derive(Debug, Clone, Serialize)]
pub struct Density {
    /// Name of the contestant.
    pub contestant: &'static str,
    /// Its configuration here.
    pub configuration: Value,
    /// Seconds for building [`MANY`] slots: the CLI's whole process.
    pub built_in: f64,
    /// Seconds for destroying all slots: the CLI's whole process.
    pub destroyed_in: f64,
    /// The same and until the kernel has freed the namespaces.
    pub freed_in: f64,
    /// Memory before and with [`MANY`] slots more.
    pub memory: [Memory; 2],
    /// With [`FEW`] slots.
    pub few: Calls,
    /// With [`MANY`] more.
    pub many: Calls,
    /// Sweeps of these.
    pub sweeping: Sweeping,
}

/// Alternating calls on a node with so many slots.
#[derive(Debug, Clone, Serialize)]
pub struct Calls {
    /// Slots.
    pub slots: usize,
    /// Lines of the mount table that a process of the node sees.
    pub mounts: usize,
    /// The program that does nothing.
    pub floor: Summary,
    /// ADD, served from the pool.
    pub add: Summary,
    /// DEL, which parks.
    pub del: Summary,
}

impl Density {
    /// Kibibytes, `kB` of `/proc/meminfo`, that each of the slots takes of what is available.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "kibibytes of a machine, not 2^52")]
    pub fn kibibytes_each(&self) -> f64 {
        let [before, with] = self.memory;
        before.available.saturating_sub(with.available) as f64 / MANY as f64
    }

    /// Kibibytes by which each of them lets the kernel's own memory grow.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "kibibytes of a machine, not 2^52")]
    pub fn kernel_kibibytes_each(&self) -> f64 {
        let [before, with] = self.memory;
        with.kernel.saturating_sub(before.kernel) as f64 / MANY as f64
    }
}

/// Fills a node and empties it again. `floor` shows how the machine fares meanwhile: calls with few
/// slots and with many cannot take turns.
pub(super) fn run(floor: &Contestant, warm: &Contestant, pace: &mut Pace) -> Result<Density> {
    eprintln!("density: {MANY} slots");
    let node = Node::new()?;
    let warm = dual_stack(warm);
    let pool = Pool::of(&warm, &node).context("a network without a pool")?;
    node.run(|| {
        pool.record()?;
        pool.resize(FEW)?;
        pool.fill(FEW)?;
        let few = calls(&node, [floor, &warm], &pool, FEW, pace)?;
        pool.resize(FEW + MANY)?;
        until_namespaces_are_gone()?;
        let before = Memory::settled()?;
        let built_in = timed(|| pool.fill(MANY))?;
        let memory = [before, Memory::settled()?];
        let many = calls(&node, [floor, &warm], &pool, FEW + MANY, pace)?;
        let sweeping = sweeping::run(&node, [floor, &warm], &pool, FEW + MANY, pace)?;
        let start = Instant::now();
        let destroyed_in = timed(|| pool.drain())?;
        until_namespaces_are_gone()?;
        Ok(Density {
            contestant: warm.name,
            configuration: warm.configuration.clone().unwrap_or_default(),
            built_in: built_in.as_secs_f64(),
            destroyed_in: destroyed_in.as_secs_f64(),
            freed_in: start.elapsed().as_secs_f64(),
            memory,
            few,
            many,
            sweeping,
        })
    })
}

/// The contestant with addresses of both families.
fn dual_stack(contestant: &Contestant) -> Contestant {
    let mut contestant = contestant.clone();
    if let Some(configuration) = &mut contestant.configuration {
        configuration["ipam"] = json!({
            "ranges": [[{ "subnet": "10.214.0.0/16" }], [{ "subnet": "2001:db8:214::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]
        });
    }
    contestant
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// Measures single calls in the calling thread's namespaces, with an agent that brings slots back.
fn calls(
    node: &Node,
    [floor, warm]: [&Contestant; 2],
    pool: &Pool<'_>,
    slots: usize,
    pace: &mut Pace,
) -> Result<Calls> {
    let agent = Agent::start(node)?;
    let netns = Netns::create("density")?;
    let before = pool.status()?;
    let call = |contestant, operation| Timed::new(contestant, operation, "density", netns.path());
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..WARM_UP + ROUNDS {
        let calls = [(floor, Operation::Exec), (warm, Operation::Add), (warm, Operation::Del)];
        for ((contestant, operation), times) in calls.into_iter().zip(&mut times) {
            pace.settle()?;
            times.push(call(contestant, operation).run()?);
        }
        pool.until_at_rest()?;
    }
    pool.require_hits(&before, WARM_UP + ROUNDS)?;
    agent.stop()?;
    let [floor, add, del] =
        times.map(|times| Summary::of(&times[WARM_UP..]).context("no round was measured"));
    Ok(Calls { slots, mounts: mounts()?, floor: floor?, add: add?, del: del? })
}

fn mounts() -> Result<usize> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").context("read mountinfo")?;
    Ok(table.lines().count())
}
