//! What happens between two measurements, so that they do not weigh on each other.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;

use crate::{Netns, command, wait};

/// Longest random pause before a measurement: some grace periods of the kernel, which is what the
/// phase of a link's deletion depends on.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Order and pace of the measurements.
pub struct Pace {
    random: Rng,
}

impl Pace {
    pub fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed) }
    }

    /// Another order of the same things.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        self.random.shuffle(things);
    }

    /// Waits in the calling thread's network namespace until what earlier calls left to the kernel
    /// is done, and then for a random time.
    ///
    /// A deleted link is freed after its owner has gone on: `netdev_run_todo` waits in
    /// `rcu_barrier`, one caller at a time, so that one more deletion ends after the others. Without
    /// the random time every measurement would begin right after a grace period, where a link's
    /// deletion takes another time than elsewhere.
    #[expect(
        clippy::disallowed_methods,
        reason = "the pause makes the phase random, and is no wait for anything"
    )]
    pub fn settle(&mut self) -> Result<()> {
        let commands = b"link add settle type veth peer name settled\nlink del settle";
        command::run_with_input("ip", ["-batch", "-"], commands)?;
        until_quiet()?;
        thread::sleep(LONGEST_PAUSE.mul_f64(self.random.f64()));
        Ok(())
    }
}

/// Samples in a row in which nothing else runs, one each millisecond, for the machine to be quiet.
const QUIET: u32 = 10;
/// Longest wait for a quiet machine. What runs longer is no consequence of an earlier call.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Waits until no other thread of the machine runs: what earlier calls left to the kernel's workers
/// and to the agent is done.
///
/// A namespace that ended is taken down by a worker (`cleanup_net`) after its record is gone.
#[expect(clippy::disallowed_methods, reason = "samples are taken at intervals")]
fn until_quiet() -> Result<()> {
    let start = Instant::now();
    let mut quiet = 0;
    while quiet < QUIET && start.elapsed() < LONGEST_WAIT {
        thread::sleep(Duration::from_millis(1));
        quiet = if running()? <= 1 { quiet + 1 } else { 0 };
    }
    Ok(())
}

/// Threads of the machine that run or could run, the calling one included (`proc_stat(5)`).
fn running() -> Result<u32> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let count = text.lines().find_map(|line| line.strip_prefix("procs_running "));
    count.context("/proc/stat has no procs_running")?.parse().context("procs_running")
}

/// Number of links in the calling thread's network namespace.
pub fn links() -> Result<usize> {
    let table = command::run("ip", ["-oneline", "link"])?;
    Ok(table.lines().count())
}

/// Waits until the calling thread's network namespace holds no more than so many links.
pub fn until_links(at_most: usize) -> Result<()> {
    wait::until(Duration::from_mins(2), "removal of links", || {
        let found = links()?;
        ensure!(found <= at_most, "{found} links, {at_most} before the measurement");
        Ok(())
    })
}

/// Waits until the kernel has taken down all network namespaces that have ended.
///
/// One worker of the kernel takes down namespaces (`cleanup_net`): all at once that have ended until it
/// begins. It removes the links of these namespaces before it frees them. So this function ends two
/// namespaces with a link, one after the other: when the second link is gone, the kernel has freed all
/// namespaces that ended before the first.
pub fn until_namespaces_are_gone() -> Result<()> {
    for _ in 0..2 {
        let before = links()?;
        let netns = Netns::create("fence")?;
        let path = netns.path().to_string_lossy();
        command::run("ip", ["link", "add", "fence", "type", "veth", "peer", "netns", &path])?;
        drop(netns);
        until_links(before)?;
    }
    Ok(())
}
