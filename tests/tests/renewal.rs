//! What building and deleting a slot costs the machine, kernel workers included.
//!
//! ```console
//! # cargo test -p repoint-tests --test renewal -- --ignored --nocapture
//! ```
//!
//! `RENEWAL_SLOTS` (512) are built and deleted `RENEWAL_ROUNDS` times (3) beside `RENEWAL_BESIDE` (0)
//! others. "machine" is right on an idle machine only; "process" and "workers" also on a busy one,
//! but without what interrupts take.
#![cfg(test)]

use std::{
    collections::BTreeMap,
    env, fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use repoint::{
    conf::NetConf,
    model::{PoolId, SlotId},
    netlink::{RouteSocket, namespaces_alive, nsid_of},
    node::Node as Library,
    pool::{Order, prepare},
    retire::delete_slots,
    store::Slot,
};
use repoint_tests::{Node, wait};
use serde_json::json;

/// Nanoseconds of CPU of each kernel thread, with the first part of its name.
type Workers = BTreeMap<i32, (String, u64)>;

/// What the machine has done so far, milliseconds.
struct Cpu {
    user: f64,
    system: f64,
    /// `/proc/stat`: user, nice, system, interrupts, softirqs, stolen.
    machine: [f64; 6],
    workers: Workers,
}

impl Cpu {
    fn now() -> Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
        let milliseconds = |time: nix::sys::time::TimeVal| {
            Duration::new(u64::try_from(time.tv_sec()).unwrap_or(0), 0).as_secs_f64() * 1e3
                + f64::from(i32::try_from(time.tv_usec()).unwrap_or(0)) / 1e3
        };
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().context("/proc/stat is empty")?;
        let numbers: Vec<f64> =
            line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
        // Ticks of 10 ms.
        let machine = [0, 1, 2, 5, 6, 7].map(|field: usize| numbers[field] * 10.0);
        let (user, system) = (milliseconds(usage.user_time()), milliseconds(usage.system_time()));
        Ok(Self { user, system, machine, workers: workers()? })
    }

    /// Prints what was done since, for each of so many slots.
    fn print(&self, what: &str, since: &Self, slots: usize, took: Duration) {
        let each = |later: f64, earlier: f64| {
            (later - earlier) / f64::from(u32::try_from(slots).unwrap_or(u32::MAX))
        };
        let mut by_name: BTreeMap<&str, f64> = BTreeMap::new();
        for (pid, (name, spent)) in &self.workers {
            let before = since.workers.get(pid).map_or(0, |(_, spent)| *spent);
            let spent = Duration::from_nanos(spent.saturating_sub(before)).as_secs_f64() * 1e3;
            *by_name.entry(name).or_default() += each(spent, 0.0);
        }
        let all: f64 = by_name.values().sum();
        by_name.retain(|_, spent| *spent >= 0.01);
        let (user, system) = (each(self.user, since.user), each(self.system, since.system));
        let machine: f64 =
            self.machine.iter().zip(since.machine).map(|(now, then)| each(*now, then)).sum();
        println!(
            "{what}: {slots} slots in {took:?}; ms of CPU a slot: process {user:.3} user + \
             {system:.3} system, workers {all:.3} {by_name:.3?}, machine {machine:.3}"
        );
    }
}

fn workers() -> Result<Workers> {
    let mut workers = Workers::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end meanwhile, and its name may be any bytes.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let Some((name, rest)) = stat.rsplit_once(") ") else { continue };
        // Kernel threads are children of kthreadd.
        if rest.split(' ').nth(1) != Some("2") {
            continue;
        }
        let name = name.split_once('(').map_or("", |(_, name)| name);
        let name = name.split(['/', '-', '.']).next().unwrap_or_default().to_owned();
        let Ok(spent) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let spent = spent.split(' ').next().unwrap_or_default().parse()?;
        workers.insert(pid, (name, spent));
    }
    Ok(workers)
}

/// Waits until the kernel has ended the namespaces of these slots, and for what its threads do then.
fn settle(deleted: &[Slot]) -> Result<()> {
    let mut socket = RouteSocket::open()?;
    let numbers: Vec<i32> = deleted.iter().map(|slot| nsid_of(slot.id.0)).collect();
    wait::until(Duration::from_mins(2), "namespaces end", || {
        let alive = namespaces_alive(&mut socket, &numbers)?.len();
        ensure!(alive == 0, "{alive} namespaces are alive");
        Ok(())
    })?;
    let spent = || Ok::<u64, anyhow::Error>(workers()?.values().map(|(_, spent)| spent).sum());
    let mut last = spent()?;
    let busy = wait::until(Duration::from_secs(3), "kernel threads rest", || {
        let now = spent()?;
        let since = now.saturating_sub(std::mem::replace(&mut last, now));
        ensure!(since < 1_000_000, "{since} ns of CPU since the last look");
        Ok(())
    });
    if let Err(error) = busy {
        println!("the machine is busy: {error:#}");
    }
    Ok(())
}

fn number(name: &str, default: u32) -> Result<u32> {
    env::var(name).map_or(Ok(default), |text| Ok(text.parse()?))
}

fn slots_of(node: &Library, ids: &[SlotId]) -> Result<Vec<Slot>> {
    ids.iter()
        .map(|id| node.store.read(|transaction| transaction.slot(*id))?.context("no record"))
        .collect()
}

fn measure(conf: &NetConf) -> Result<()> {
    let (count, rounds) = (number("RENEWAL_SLOTS", 512)?, number("RENEWAL_ROUNDS", 3)?);
    let beside = number("RENEWAL_BESIDE", 0)?;
    let node = Library::open(&conf.directories)?;
    let pool = PoolId { network: conf.name.clone(), ifname: "eth0".parse()?, template: None };
    let build = |count| prepare(&node, &Order { conf, pool: &pool, count, user: None });
    let others = build(beside.max(1))?;
    for _ in 0..rounds {
        settle(&[])?;
        let (before, start) = (Cpu::now()?, Instant::now());
        let slots = slots_of(&node, &build(count)?)?;
        let took = start.elapsed();
        settle(&[])?;
        let between = Cpu::now()?;
        between.print("build", &before, slots.len(), took);
        let start = Instant::now();
        delete_slots(&node, &slots)?;
        let took = start.elapsed();
        settle(&slots)?;
        Cpu::now()?.print("delete", &between, slots.len(), took);
    }
    delete_slots(&node, &slots_of(&node, &others)?)?;
    Ok(())
}

#[test]
#[ignore = "a measurement, on a machine without other work"]
fn building_and_deleting_slots_costs() -> Result<()> {
    let node = Node::new()?;
    let mut configuration = json!({
        "cniVersion": "1.0.0", "name": "renewal", "type": "repoint-cni",
        "pool": { "warm": 0, "maxSlots": 16384, "scope": "network" },
        "ipam": {
            "ranges": [[{ "subnet": "10.214.0.0/16" }], [{ "subnet": "2001:db8:214::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]
        }
    });
    node.dirs().patch(&mut configuration);
    let conf = NetConf::parse(configuration.to_string().as_bytes())?;
    node.run(|| measure(&conf))
}
