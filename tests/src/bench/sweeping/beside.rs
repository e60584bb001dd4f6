//! ADDs without sweeps, beside the agent's ordinary sweeps, and beside sweeps without end.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use super::process;
use crate::{
    Agent, Netns, Node,
    bench::{
        contestant::{Contestant, Operation},
        fence::Pace,
        pool::Pool,
        stats::{Summary, ratio},
        timed::Timed,
    },
};

/// How often everything is done.
pub const PASSES: usize = 2;
/// Blocks of ADDs without sweeps, alternating with as many beside continuous sweeps, in each pass.
pub const BLOCKS: usize = 10;
/// ADDs in a block.
pub const BLOCK: usize = 20;
/// How long ADDs go on in each pass beside an agent that sweeps when it starts, and 30 s after that.
pub const UNINTERRUPTED: Duration = Duration::from_secs(34);
/// Between two sweeps of an agent that shall not sweep.
const NEVER: Duration = Duration::from_hours(24);
/// Calls that do not count, while the agent sweeps as it starts.
const WARM_UP: usize = 20;

/// ADDs, each served from the pool, and the program that does nothing, which takes turns with them.
#[derive(Debug, Clone, Serialize)]
pub struct Beside {
    /// Without sweeps.
    pub alone: Calls,
    /// Beside the agent's ordinary sweeps.
    pub ordinary: Calls,
    /// Beside `repoint sweep` without end.
    pub without_end: Calls,
    /// Sweeps meanwhile, in the last case.
    pub sweeps: usize,
}

/// Calls in one of the cases.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Calls {
    /// The program that does nothing: what company on the CPUs alone comes to.
    pub floor: Summary,
    /// ADD.
    pub add: Summary,
}

impl Calls {
    /// How many times as long as in another case the median of ADD is, and its p99.
    #[must_use]
    pub fn against(&self, other: &Self) -> [f64; 2] {
        [ratio(self.add.p50, other.add.p50), ratio(self.add.p99, other.add.p99)]
    }
}

#[derive(Default)]
struct Times {
    floor: Vec<Duration>,
    add: Vec<Duration>,
}

impl Times {
    fn summary(&self) -> Result<Calls> {
        let of = |times: &[Duration]| Summary::of(times).context("no call was measured");
        Ok(Calls { floor: of(&self.floor)?, add: of(&self.add)? })
    }
}

/// Measures in the calling thread's namespaces.
pub(super) fn run(
    node: &Node,
    contestants: [&Contestant; 2],
    pool: &Pool<'_>,
    pace: &mut Pace,
) -> Result<Beside> {
    let netns = Netns::create("sweeping")?;
    let calls = Rounds { contestants, pool, netns: &netns };
    let [mut alone, mut ordinary, mut without_end] = [(); 3].map(|()| Times::default());
    let mut sweeps = 0;
    let before = pool.status()?;
    for _ in 0..PASSES {
        let agent = Agent::start_sweeping(node, NEVER)?;
        calls.rounds(WARM_UP, &mut Times::default(), pace)?;
        for _ in 0..BLOCKS {
            calls.rounds(BLOCK, &mut alone, pace)?;
            sweeps += beside_sweeps(node, || calls.rounds(BLOCK, &mut without_end, pace))?;
        }
        agent.stop()?;
        let agent = Agent::start(node)?;
        let start = Instant::now();
        while start.elapsed() < UNINTERRUPTED {
            calls.rounds(1, &mut ordinary, pace)?;
        }
        agent.stop()?;
    }
    let adds = PASSES * (WARM_UP + 2 * BLOCKS * BLOCK) + ordinary.add.len();
    pool.require_hits(&before, adds)?;
    let [alone, ordinary, without_end] =
        [alone, ordinary, without_end].map(|times| times.summary());
    Ok(Beside { alone: alone?, ordinary: ordinary?, without_end: without_end?, sweeps })
}

/// Does `work` while one sweep follows the other. Gives the number of sweeps.
fn beside_sweeps(node: &Node, work: impl FnOnce() -> Result<()>) -> Result<usize> {
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            let mut sweeps = 0;
            while !end.load(Ordering::Relaxed) {
                process::sweep(node)?;
                sweeps += 1;
            }
            anyhow::Ok(sweeps)
        });
        let worked = work();
        end.store(true, Ordering::Relaxed);
        let sweeps = sweeper.join().map_err(|_| anyhow!("the sweeper panicked"))??;
        worked.map(|()| sweeps)
    })
}

/// Rounds of calls for one container.
struct Rounds<'a> {
    contestants: [&'a Contestant; 2],
    pool: &'a Pool<'a>,
    netns: &'a Netns,
}

impl Rounds<'_> {
    fn rounds(&self, count: usize, times: &mut Times, pace: &mut Pace) -> Result<()> {
        let [floor, warm] = self.contestants;
        let call = |contestant, operation| {
            Timed::new(contestant, operation, "sweeping", self.netns.path())
        };
        for _ in 0..count {
            pace.settle()?;
            times.floor.push(call(floor, Operation::Exec).run()?);
            pace.settle()?;
            times.add.push(call(warm, Operation::Add).run()?);
            call(warm, Operation::Del).run()?;
            self.pool.until_at_rest()?;
        }
        Ok(())
    }
}
