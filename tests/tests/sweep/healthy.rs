//! Nothing of a healthy node is ever a finding.

use std::{
    panic,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use repoint_tests::{
    Container, Pooled, command,
    traffic::{self, Host},
    web::Server,
    with_pool,
};
use serde_json::json;

use crate::report::{dry_run, sweep};

/// ADDs and DELs at the same time.
const THREADS: usize = 8;
/// For how long.
const BUSY: Duration = Duration::from_secs(8);

#[test]
fn slots_in_every_state_of_rest_are_no_finding() -> Result<()> {
    with_pool(&json!({ "warm": 4, "maxSlots": 16 }), |pooled| {
        dry_run(pooled)?.ensure_empty()?;
        pooled.fill()?;
        let (one, parked, dirty) =
            (pooled.add()?, pooled.add_function("f")?, pooled.add_function("g")?);
        parked.remove()?;
        let slot = pooled.slot_of(&dirty)?.slot;
        let server = Server::start(&dirty.host()?)?;
        dirty.remove()?;
        pooled.wait_for_slot(&slot, &["dirty"])?;
        let ordinary = pooled.network_with(|configuration| {
            configuration["name"] = json!("ordinary");
            configuration.as_object_mut().map(|keys| keys.remove("pool"));
            configuration["ipam"]["ranges"] = json!([[{ "subnet": "10.218.9.0/24" }]]);
        })?;
        let cold = Container::add(&ordinary, "cold")?;
        let mut states: Vec<_> = pooled.slots()?.into_iter().map(|slot| slot.state).collect();
        states.sort_unstable();
        states.dedup();
        ensure!(states == ["active", "dirty", "parked", "warm"], "{states:?}");
        for _ in 0..3 {
            sweep(pooled, &[])?.ensure_empty()?;
        }
        one.check()?;
        cold.check()?;
        cold.remove()?;
        drop(server);
        one.remove()
    })
}

/// Pairs of interfaces that are added by one call of `ip`.
const ADDED: usize = 100;
/// Calls before the sweep: the kernel lists 5,000 interfaces for longer than it takes to add one.
const CALLS: usize = 25;
/// The group of one of each pair, by which they are removed.
const GROUP: &str = "9";

/// The kernel reports a list that changed while it was read; on a busy node that is each.
#[test]
fn a_sweep_ends_while_interfaces_come_and_go() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        (0..CALLS).try_for_each(|call| add_links(&format!("there{call}-")))?;
        let swept = AtomicBool::new(false);
        let report = thread::scope(|scope| {
            let adder = scope.spawn(|| {
                let mut calls = 0;
                while !swept.load(Ordering::Relaxed) {
                    add_links(&format!("new{calls}-"))?;
                    calls += 1;
                }
                anyhow::Ok(calls)
            });
            let report = sweep(pooled, &[]);
            swept.store(true, Ordering::Relaxed);
            let calls = adder.join().unwrap_or_else(|payload| panic::resume_unwind(payload))?;
            println!("{} pairs were added meanwhile", calls * ADDED);
            report
        })?;
        command::run("ip", ["link", "del", "group", GROUP])?;
        report.ensure_empty()
    })
}

fn add_links(prefix: &str) -> Result<()> {
    let add = |number| {
        let name = format!("{prefix}{number}");
        format!("link add {name} group {GROUP} type veth peer name {name}p\n")
    };
    let commands: String = (0..ADDED).map(add).collect();
    command::run_with_input("ip", ["-batch", "-"], commands.as_bytes()).map(drop)
}

/// Sweeps come and go between ADDs and DELs, by the agent and by hand, and harm nobody.
#[test]
fn sweeps_harm_nobody_who_comes_or_goes() -> Result<()> {
    with_pool(&json!({ "warm": 8, "maxSlots": 64 }), |pooled| {
        let agent = pooled.agent()?;
        let steady = pooled.add()?;
        let (over, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
        let deadline = Instant::now() + BUSY;
        let sweeps = thread::scope(|scope| {
            let busy = || {
                let done = come_and_go(pooled, deadline, &rounds);
                if done.is_err() {
                    over.store(true, Ordering::Relaxed);
                }
                done
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(busy)).collect();
            let mut sweeps = 0;
            while Instant::now() < deadline && !over.load(Ordering::Relaxed) {
                let swept = sweep(pooled, &[])?;
                // A DEL that is delayed may be seen half-way twice, and is let be.
                let waits = swept.findings.iter().all(|one| one.outcome == "waits");
                ensure!(waits && swept.status == 0, "{swept:#?}");
                sweeps += 1;
            }
            for thread in threads {
                thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))?;
            }
            Ok::<_, anyhow::Error>(sweeps)
        })?;
        println!("{} ADDs and DELs, {sweeps} sweeps", rounds.load(Ordering::Relaxed));
        ensure!(sweeps > 1, "{sweeps} sweeps only");
        steady.check()?;
        traffic::all(&Host::here("node")?, &steady.host()?, &steady.addresses()?)?;
        steady.remove()?;
        let log = agent.log()?;
        let mut reported = log.lines().filter(|line| line.contains("sweep: "));
        ensure!(
            reported.all(|line| line.contains("waits, then")),
            "the agent did something:\n{log}"
        );
        sweep(pooled, &[])?.ensure_empty()?;
        agent.stop()
    })
}

fn come_and_go(pooled: &Pooled<'_>, deadline: Instant, rounds: &AtomicU32) -> Result<()> {
    while Instant::now() < deadline {
        let container = pooled.add()?;
        container.check()?;
        container.remove()?;
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
