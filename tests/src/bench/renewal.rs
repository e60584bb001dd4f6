//! Slots that no container may have again: deleted after their use, and others built.
//!
//! Containers that name no function start at a steady rate, and then many at once. Each has a trust
//! domain of its own, so each takes a slot that has had no user.

use std::{
    collections::VecDeque,
    fs, panic,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    contestant::{Contestant, Operation},
    fence::until_namespaces_are_gone,
    pool::Pool,
    stats::Summary,
    timed::Timed,
};
use crate::{Agent, Netns, Node, cli::Pool as Status};

/// Starts a second.
pub const RATE: u32 = 50;
/// For so long.
pub const LENGTH: Duration = Duration::from_mins(1);
/// How long each container runs.
pub const LASTS: Duration = Duration::from_secs(1);
/// Starts at once.
pub const BURST: u32 = 500;
/// Threads that make calls: no call waits for another.
const THREADS: usize = 16;
/// Slots kept ready.
const WARM: u32 = 32;
/// Most slots.
const MOST: u32 = 1024;

/// What renewing cost, and what containers saw of it.
#[derive(Debug, Clone, Serialize)]
pub struct Renewal {
    /// The network's configuration.
    pub configuration: Value,
    /// The steady load.
    pub steady: Load,
    /// The burst, from a pool at rest.
    pub burst: Load,
}

/// Containers that came and went.
#[derive(Debug, Clone, Serialize)]
pub struct Load {
    /// How many.
    pub starts: u32,
    /// How many of them found a slot.
    pub hits: u64,
    /// Each ADD.
    pub add: Summary,
    /// Each DEL.
    pub del: Summary,
    /// Milliseconds of the machine's CPUs for each slot that was renewed: all that they did, kernel
    /// threads included, less what the calls and this program took by their own account, and what the
    /// machine does at rest, the agent included.
    pub cpu_each: f64,
    /// Most slots of the pool at any moment that was looked at.
    pub most_held: u32,
    /// Until as many slots were ready again as should be, from the last start on, seconds.
    pub ready_again: f64,
}

impl Load {
    /// Which part of the starts found no slot, in percent.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "thousands, not 2^52")]
    pub fn misses(&self) -> f64 {
        100.0 * (1.0 - self.hits as f64 / f64::from(self.starts))
    }
}

/// Runs both loads with the contestant's plugin.
pub(super) fn run(warm: &Contestant) -> Result<Renewal> {
    let node = Node::new()?;
    let contestant = anonymous(warm);
    let pool = Pool::of(&contestant, &node).context("a network without a pool")?;
    node.run(|| {
        pool.record()?;
        let agent = Agent::start(&node)?;
        pool.until_full()?;
        eprintln!("renewal: {RATE} starts a second for {} s", LENGTH.as_secs());
        let steady = Starts::steady();
        let steady = load(&contestant, &pool, &steady)?;
        eprintln!("renewal: {BURST} starts at once");
        let burst = load(&contestant, &pool, &Starts::burst())?;
        agent.stop()?;
        let configuration = contestant.configuration.clone().unwrap_or_default();
        Ok(Renewal { configuration, steady, burst })
    })
}

/// The contestant, whose containers share nothing.
fn anonymous(contestant: &Contestant) -> Contestant {
    let mut contestant = contestant.clone();
    if let Some(configuration) = &mut contestant.configuration {
        configuration["pool"] = json!({ "warm": WARM, "maxSlots": MOST, "scope": "function" });
        configuration["ipam"] = json!({
            "ranges": [[{ "subnet": "10.214.0.0/16" }], [{ "subnet": "2001:db8:214::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]
        });
    }
    contestant
}

/// When containers start, since the beginning.
struct Starts(Vec<Duration>);

impl Starts {
    fn steady() -> Self {
        let seconds = u32::try_from(LENGTH.as_secs()).unwrap_or(u32::MAX);
        Self((0..RATE * seconds).map(|number| number * Duration::from_secs(1) / RATE).collect())
    }

    /// Most containers at a time, with some to spare.
    fn at_a_time(&self) -> u32 {
        if self.0.last() == Some(&Duration::ZERO) { BURST } else { 3 * RATE }
    }

    fn burst() -> Self {
        Self(vec![Duration::ZERO; BURST as usize])
    }
}

/// What is to be done to containers, in the order of its time.
struct Queue {
    /// Containers to start.
    starts: Mutex<VecDeque<(Duration, u32)>>,
    /// Containers to stop.
    stops: Mutex<VecDeque<(Instant, u32)>>,
    began: Instant,
}

impl Queue {
    fn next_start(&self) -> Option<u32> {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let due = starts.front().is_some_and(|(at, _)| self.began.elapsed() >= *at);
        due.then(|| starts.pop_front())?.map(|(_, number)| number)
    }

    fn next_stop(&self) -> Option<u32> {
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        let due = stops.front().is_some_and(|(at, _)| Instant::now() >= *at);
        due.then(|| stops.pop_front())?.map(|(_, number)| number)
    }

    fn stop_later(&self, number: u32) {
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        stops.push_back((Instant::now() + LASTS, number));
    }
}

/// Times of calls.
#[derive(Default)]
struct Times {
    adds: Vec<Duration>,
    dels: Vec<Duration>,
}

fn load(contestant: &Contestant, pool: &Pool<'_>, starts: &Starts) -> Result<Load> {
    let count = u32::try_from(starts.0.len())?;
    // No more than there are containers at a time: each costs whatever is built beside it.
    let namespaces =
        (0..starts.at_a_time()).map(|number| Netns::create(&format!("renewal{number}")));
    let namespaces = namespaces.collect::<Result<Vec<_>>>()?;
    let before = pool.status()?;
    let at_rest = at_rest()?;
    let queue = Queue {
        starts: Mutex::new(starts.0.iter().copied().zip(0..).collect()),
        stops: Mutex::default(),
        began: Instant::now(),
    };
    let (used, since) = (Used::now()?, Instant::now());
    let (times, most_held, ready_again) = thread::scope(|scope| {
        let callers: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| calls(contestant, &queue, &namespaces, count)))
            .collect();
        let watched = watch(pool, &queue, starts, count);
        let mut times = Times::default();
        for caller in callers {
            let some = caller.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?;
            times.adds.extend(some.adds);
            times.dels.extend(some.dels);
        }
        let (most_held, ready_again) = watched?;
        Ok::<_, anyhow::Error>((times, most_held, ready_again))
    })?;
    pool.until_full()?;
    until_namespaces_are_gone()?;
    let cpu = Used::now()?.since(&used) - at_rest * since.elapsed().as_secs_f64();
    let now = pool.status()?;
    Ok(Load {
        starts: count,
        hits: now.hits - before.hits,
        add: Summary::of(&times.adds).context("no ADD")?,
        del: Summary::of(&times.dels).context("no DEL")?,
        cpu_each: cpu * 1e3 / f64::from(count),
        most_held,
        ready_again,
    })
}

/// Makes calls as they come due, until all containers have come and gone.
fn calls(
    contestant: &Contestant,
    queue: &Queue,
    namespaces: &[Netns],
    count: u32,
) -> Result<Times> {
    let call = |operation, number: u32| {
        let netns = namespaces.get(number as usize % namespaces.len()).context("no namespace")?;
        Timed::new(contestant, operation, &format!("renewal{number}"), netns.path()).run()
    };
    let mut times = Times::default();
    loop {
        if let Some(number) = queue.next_start() {
            times.adds.push(call(Operation::Add, number)?);
            queue.stop_later(number);
        } else if let Some(number) = queue.next_stop() {
            times.dels.push(call(Operation::Del, number)?);
        } else if queue.began.elapsed() > deadline(count) {
            return Ok(times);
        } else {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// When all containers of a load have stopped.
fn deadline(count: u32) -> Duration {
    let length = if count == BURST { Duration::from_secs(2) } else { LENGTH };
    length + 3 * LASTS
}

/// Looks at the pool while a load runs: the most slots it had, and for how long it was not full after
/// the last start, seconds.
fn watch(pool: &Pool<'_>, queue: &Queue, starts: &Starts, count: u32) -> Result<(u32, f64)> {
    let last = starts.0.last().copied().unwrap_or_default();
    let (mut most, mut ready) = (0, None);
    while queue.began.elapsed() < deadline(count) {
        let status: Status = pool.status()?;
        most = most.max(status.total);
        let since = queue.began.elapsed();
        if since > last && status.warm >= status.target {
            ready.get_or_insert(since.saturating_sub(last));
        }
        let pause = if since > last { 100 } else { 1000 };
        thread::park_timeout(Duration::from_millis(pause));
    }
    let ready = ready.context("the pool was not full again")?;
    Ok((most, ready.as_secs_f64()))
}

/// How long the machine is looked at that has nothing to do.
const REST: Duration = Duration::from_secs(5);

/// Seconds of CPUs that the machine takes in a second in which nothing happens.
fn at_rest() -> Result<f64> {
    let (used, since) = (Used::now()?, Instant::now());
    while since.elapsed() < REST {
        thread::park_timeout(REST.saturating_sub(since.elapsed()));
    }
    Ok(Used::now()?.since(&used) / since.elapsed().as_secs_f64())
}

/// Seconds of CPUs.
struct Used {
    /// Of all of them, for whatever.
    machine: f64,
    /// Of this program and those that it ran.
    own: f64,
}

impl Used {
    fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        ensure!(ticks.len() >= 8, "{line}");
        // user, nice, system, idle, iowait, irq, softirq, steal
        let busy: u64 = [0, 1, 2, 5, 6].iter().map(|at| ticks[*at]).sum();
        #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds, not 2^52")]
        let machine = busy as f64 / 100.0;
        let own = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].into_iter().map(|who| {
            let usage = getrusage(who).context("ask for the time on CPUs")?;
            let seconds = |time: nix::sys::time::TimeVal| {
                #[expect(clippy::cast_precision_loss, reason = "seconds, not 2^52")]
                let seconds = time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
                seconds
            };
            Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
        });
        Ok(Self { machine, own: own.sum::<Result<f64>>()? })
    }

    fn since(&self, before: &Self) -> f64 {
        (self.machine - before.machine) - (self.own - before.own)
    }
}
