//! What a hostile container costs others: how long their hits and their DELs take while its network is
//! brought back or renewed, and what that takes of the agent's memory.
//!
//! In CI two busy cores run debug executables, so times are limited generously there, and memory
//! strictly. `REPOINT_HOSTILE_FIGURES=1` plays greater loads more often, and holds times to the claim:
//! for release executables on an idle machine.

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Netns, Pooled, command,
    hostile::{Process, Rights, rtnl_round_trip},
    node::Uplink,
    wait, with_network,
};
use serde_json::json;

use crate::{
    attack::{ADMIN, RAW},
    world::ATTACKER,
};

/// Set for figures.
const FIGURES: &str = "REPOINT_HOSTILE_FIGURES";
/// What the agent's memory may grow by, KiB.
const MEMORY: u64 = 16 << 10;
/// What another container may be delayed by, at the 99th percentile.
const DELAY: Duration = Duration::from_millis(10);
/// The same where other tests and the compiler's leisure delay everything: this, and a multiple of
/// what it is without an attack.
const LENIENT: Duration = Duration::from_millis(250);
const LENIENT_TIMES: u32 = 5;
/// How long another function may wait for the slot that it has just left.
const READY: Duration = Duration::from_secs(5);
/// Functions that come and go, so that each one's slot is ready again when its turn comes.
const FUNCTIONS: usize = 8;
/// How long the hostile container's slot may take to be ready or gone.
const SETTLING: Duration = Duration::from_mins(2);

fn for_figures() -> bool {
    env::var_os(FIGURES).is_some()
}

/// Something that a container has too much of.
struct Load {
    name: &'static str,
    rights: Rights,
    /// In CI, and for figures.
    counts: [u32; 2],
    /// The order that makes it.
    order: fn(u32) -> String,
    /// The process goes on after DEL.
    stays: bool,
}

/// A script that has `ip` or another tool do `count` things, `line` being what awk prints of `i`.
fn batch(count: u32, line: &str, tool: &str) -> String {
    format!("shell awk 'BEGIN {{ for (i = 0; i < {count}; i++) printf {line} }}' | {tool}")
}

const OCTETS: &str = "i / 65536, i / 256 % 256, i % 256";

static LOADS: [Load; 7] = [
    Load {
        name: "routes",
        rights: ADMIN,
        counts: [100_000, 1_000_000],
        order: |count| {
            batch(count, &format!("\"route add 11.%d.%d.%d dev eth0\\n\", {OCTETS}"), "ip -batch -")
        },
        stays: false,
    },
    Load {
        name: "addresses",
        rights: ADMIN,
        counts: [5_000, 20_000],
        order: |count| {
            let line = format!("\"address add 11.%d.%d.%d/32 dev lo\\n\", {OCTETS}");
            batch(count, &line, "ip -batch -")
        },
        stays: false,
    },
    Load {
        name: "neighbours",
        rights: ADMIN,
        counts: [50_000, 200_000],
        order: |count| {
            let line = format!(
                "\"neighbour add 11.%d.%d.%d lladdr 02:00:00:00:00:01 dev eth0 nud permanent\\n\", \
                 {OCTETS}"
            );
            batch(count, &line, "ip -batch -")
        },
        stays: false,
    },
    Load {
        name: "nftables rules",
        rights: ADMIN,
        counts: [20_000, 200_000],
        order: |count| {
            format!(
                "shell nft add table inet t; nft add chain inet t c
                 awk 'BEGIN {{ for (i = 0; i < {count}; i++) \
                 print \"add rule inet t c tcp dport \" i % 60000 \" drop\" }}' | nft -f -"
            )
        },
        stays: false,
    },
    Load {
        name: "links",
        rights: ADMIN,
        counts: [200, 1_000],
        order: |count| {
            let line = "\"link add m%d link eth0 type macvlan mode bridge\\n\", i";
            batch(count, line, "ip -batch -")
        },
        stays: false,
    },
    Load {
        name: "sockets",
        rights: Rights::NONE,
        counts: [5_000, 15_000],
        order: |count| format!("sockets {count}"),
        stays: true,
    },
    Load {
        name: "forks",
        rights: RAW,
        counts: [300, 3_000],
        order: |count| format!("forks {count}"),
        stays: true,
    },
];

/// Times of calls, ascending.
struct Times(Vec<Duration>);

impl Times {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().unwrap_or_default()
    }

    fn p50(&self) -> Duration {
        self.percentile(50)
    }

    /// Of fewer than a hundred calls the longest.
    fn p99(&self) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * 99).div_ceil(100).min(last)).copied().unwrap_or_default()
    }
}

/// Calls of containers that have nothing to do with the attack.
struct Calls {
    hits: Times,
    deletes: Times,
    /// How long a function waited for its slot at most, when its turn came.
    waited: Duration,
}

/// A function that comes and goes, and the slot that waits for it.
struct Function {
    name: String,
    slot: Option<String>,
}

/// Starts and stops functions, one after another. Each finds the slot that waits for it.
fn measure(pooled: &Pooled<'_>, functions: &mut [Function]) -> Result<Calls> {
    let rounds = if for_figures() { 400 } else { 32 };
    let (mut hits, mut deletes, mut waited) = (Vec::new(), Vec::new(), Duration::ZERO);
    for round in 0..rounds {
        let number = round % functions.len();
        let function = &mut functions[number];
        let begin = Instant::now();
        if let Some(slot) = &function.slot {
            pooled.wait_for_slot(slot, &["parked", "gone"])?;
        }
        waited = waited.max(begin.elapsed());
        let container = pooled.add_tenants("victor", &function.name)?;
        let slot = pooled.slot_of(&container)?;
        let is_hit = function.slot.as_deref() == Some(slot.slot.as_str());
        function.slot = Some(slot.slot);
        let added_in = container.added_in();
        deletes.push(container.delete()?);
        container.remove_netns()?;
        if is_hit {
            hits.push(added_in);
        }
    }
    println!("{} of {rounds} ADDs were hits", hits.len());
    Ok(Calls { hits: Times::new(hits), deletes: Times::new(deletes), waited })
}

/// A field of `/proc/PID/status`, KiB.
fn memory(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read status")?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let value = value.and_then(|value| value.trim().strip_suffix(" kB"));
    value.with_context(|| format!("no {field}"))?.trim().parse().context("a number of KiB")
}

/// What one load came to.
struct Row {
    load: &'static Load,
    count: u32,
    without: Calls,
    with: Calls,
    settled: Duration,
    /// KiB.
    rise: u64,
}

impl Row {
    const HEAD: &'static str = "attack          count    hit p50    hit p99   with: p50        p99   \
                                DEL p99  with: p99  own slot, with   settled  agent, MiB";

    fn line(&self) -> String {
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        format!(
            "{:<14} {:>6} {:>10} {:>10} {:>11} {:>10} {:>9} {:>10} {:>6} {:>8} {:>9.1?} {:>11.1}",
            self.load.name,
            self.count,
            ms(self.without.hits.p50()),
            ms(self.without.hits.p99()),
            ms(self.with.hits.p50()),
            ms(self.with.hits.p99()),
            ms(self.without.deletes.p99()),
            ms(self.with.deletes.p99()),
            format!("{:.0?}", self.without.waited),
            format!("{:.0?}", self.with.waited),
            self.settled,
            f64::from(u32::try_from(self.rise).unwrap_or(u32::MAX)) / 1024.0,
        )
    }

    /// What is more than it may be.
    fn excess(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.rise > MEMORY {
            found.push(format!("{}: the agent grew by {} KiB", self.load.name, self.rise));
        }
        let pairs = [
            ("hits", &self.without.hits, &self.with.hits),
            ("DELs", &self.without.deletes, &self.with.deletes),
        ];
        if self.with.waited > READY {
            let (name, waited) = (self.load.name, self.with.waited);
            found.push(format!("{name}: another function waited {waited:?} for its own slot"));
        }
        for (what, without, with) in pairs {
            let allowed = if for_figures() {
                without.p99() + DELAY
            } else {
                without.p99() * LENIENT_TIMES + LENIENT
            };
            if with.p99() > allowed {
                let (with, without) = (with.p99(), without.p99());
                found.push(format!("{}: {what} took {with:?}, not {without:?}", self.load.name));
            }
        }
        found
    }
}

fn play(load: &'static Load) -> Result<Option<Row>> {
    let mut row = None;
    let pool = json!({ "warm": 2, "maxSlots": 32, "scope": "function" });
    with_network(
        Uplink::FIRST,
        |configuration| configuration["pool"] = pool,
        |pooled| {
            row = Some(measure_load(pooled, load)?);
            Ok(())
        },
    )?;
    Ok(row)
}

fn measure_load(pooled: &Pooled<'_>, load: &'static Load) -> Result<Row> {
    let agent = pooled.agent()?;
    // The functions' slots, and the agent's first scrubs.
    let mut functions: Vec<Function> =
        (0..FUNCTIONS).map(|one| Function { name: format!("f{one}"), slot: None }).collect();
    measure(pooled, &mut functions)?;
    let without = measure(pooled, &mut functions)?;
    let hostile = pooled.add_tenants("mallory", "f")?;
    let slot = pooled.slot_of(&hostile)?.slot;
    let process = Process::start(Path::new(ATTACKER), &hostile.host()?, &load.rights)?;
    let count = load.counts[usize::from(for_figures())];
    let begin = Instant::now();
    process.must(&(load.order)(count))?;
    println!("{} {}: made in {:?}", count, load.name, begin.elapsed());
    // From here on the highest value is of this time alone (proc(5), clear_refs).
    fs::write(format!("/proc/{}/clear_refs", agent.pid()), "5").context("write clear_refs")?;
    let before = memory(agent.pid(), "VmRSS")?;
    let process = if load.stays {
        Some(process)
    } else {
        process.kill()?;
        None
    };
    let begin = Instant::now();
    hostile.remove()?;
    let with = measure(pooled, &mut functions)?;
    process.map_or(Ok(()), Process::kill)?;
    let state = wait::until(SETTLING, &format!("slot {slot} is ready or gone"), || {
        let found = pooled.slot(&slot)?;
        let state = found.map_or_else(|| "gone".to_owned(), |slot| slot.state);
        ensure!(["parked", "gone"].contains(&state.as_str()), "it is {state}");
        Ok(state)
    })?;
    let settled = begin.elapsed();
    println!("slot {slot} is {state}");
    let rise = memory(agent.pid(), "VmHWM")?.saturating_sub(before);
    agent.stop()?;
    Ok(Row { load, count, without, with, settled, rise })
}

/// One table, one load after another, so that none is measured beside another.
#[test]
fn a_hostile_container_delays_no_other_and_costs_the_agent_no_memory() -> Result<()> {
    let mut rows = Vec::new();
    for load in &LOADS {
        let Some(row) = play(load).with_context(|| load.name)? else {
            return Ok(());
        };
        rows.push(row);
    }
    println!("{}", Row::HEAD);
    for row in &rows {
        println!("{}", row.line());
    }
    let excess: Vec<String> = rows.iter().flat_map(Row::excess).collect();
    ensure!(excess.is_empty(), "{}", excess.join("\n"));
    Ok(())
}

/// What no product can help: the kernel holds its lock of links while it destroys a namespace. This
/// only prints, for the documentation.
#[test]
fn what_the_kernel_itself_does_to_others_is_shown() -> Result<()> {
    let counts = if for_figures() { [0, 100_000, 300_000] } else { [0, 10_000, 50_000] };
    let node = repoint_tests::Node::new()?;
    node.run(|| {
        println!("routes  of a namespace that is destroyed; longest wait for the kernel's lock");
        for count in counts {
            let netns = Netns::create("crowded")?;
            let script = "ip link set lo up; ip link add d0 type veth peer name d1
                ip link set d0 up; ip link set d1 up; ip -batch -";
            let routes: Vec<String> = (0..count)
                .map(|i: u32| {
                    format!("route add 11.{}.{}.{} dev d0\n", i >> 16, i >> 8 & 255, i & 255)
                })
                .collect();
            let routes = routes.concat();
            netns.run(|| {
                command::run_with_input("sh", ["-ec", script], routes.as_bytes()).map(drop)
            })?;
            netns.remove()?;
            let end = Instant::now() + Duration::from_secs(2);
            let mut longest = Duration::ZERO;
            while Instant::now() < end {
                longest = longest.max(rtnl_round_trip()?);
            }
            println!("{count:>6}  {longest:?}");
        }
        Ok(())
    })
}
