//! Where the agent is: it works in the runtimes' mount namespace, whatever starts it, and a place of slots'
//! namespaces that was made elsewhere is made again.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use repoint_tests::{
    Agent, Container, Pooled, command, dist,
    netns::in_thread,
    pooled::{NAME, SOON},
    traffic::{self, Host},
    wait, with_pool,
};
use serde_json::{Value, json};

/// As systemd does with `PrivateTmp=`.
const PRIVATE: [&str; 4] = ["unshare", "--mount", "--propagation", "slave"];

fn three() -> Value {
    json!({ "warm": 3, "maxSlots": 16 })
}

/// Runs the CLI in a mount namespace of its own, which ends with it.
fn elsewhere(pooled: &Pooled<'_>, arguments: &[&str]) -> Result<()> {
    let cli = dist::cli();
    let mut all: Vec<_> = PRIVATE[1..].iter().map(Into::into).collect();
    all.push(cli.into_os_string());
    all.extend(pooled.node().dirs().arguments());
    all.extend(arguments.iter().map(Into::into));
    command::run(PRIVATE[0], all).map(drop)
}

fn configure(pooled: &Pooled<'_>) -> Result<()> {
    pooled.repoint(&["pool", "set", NAME, "--config", "/run/functions.json"]).map(drop)
}

/// A container that is served from the pool, and talks.
fn is_served(pooled: &Pooled<'_>) -> Result<()> {
    let before = pooled.pool()?.declined;
    let one = pooled.add()?;
    traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
    let pool = pooled.pool()?;
    ensure!(pool.declined == before, "it was declined: {pool:?}");
    one.remove()
}

#[test]
fn an_agent_with_a_mount_namespace_of_its_own_goes_to_the_runtimes() -> Result<()> {
    with_pool(&three(), |pooled| {
        let agent = Agent::start_by(pooled.node(), &PRIVATE)?;
        pooled.wait_until("the pool is full", |pool| pool.warm >= pool.target)?;
        is_served(pooled)?;
        pooled.ensure_adds(&[("warm", 1)])?;
        let log = agent.log()?;
        ensure!(log.contains("working in the mount namespace at"), "{log}");
        agent.stop()
    })
}

/// At boot it is the first to start, and knows nothing yet.
#[test]
fn an_agent_goes_there_when_the_first_pool_is_recorded() -> Result<()> {
    with_pool(&three(), |pooled| {
        pooled.repoint(&["unload"])?;
        let agent = Agent::start_by(pooled.node(), &PRIVATE)?;
        // The runtime's first ADD configures the pool.
        let one = pooled.add()?;
        pooled.wait_until("the pool is full", |pool| pool.warm >= pool.target)?;
        one.check()?;
        is_served(pooled)?;
        let log = agent.log()?;
        ensure!(log.contains("going there"), "{log}");
        one.remove()?;
        agent.stop()
    })
}

/// A container without `hostPID` sees neither runtimes nor who uses slots.
#[test]
fn an_agent_that_cannot_go_there_says_what_to_change() -> Result<()> {
    with_pool(&three(), |pooled| {
        let mut apart = PRIVATE.to_vec();
        apart.extend(["--pid", "--fork", "--mount-proc"]);
        let said = Agent::fail_by(pooled.node(), &apart)?;
        println!("{said}");
        ensure!(said.contains("hostPID") && said.contains("PrivateTmp"), "{said}");
        let mut barred = PRIVATE.to_vec();
        barred.extend(["setpriv", "--bounding-set", "-sys_chroot"]);
        let said = Agent::fail_by(pooled.node(), &barred)?;
        println!("{said}");
        ensure!(said.contains("CAP_SYS_CHROOT") && said.contains("PrivateTmp"), "{said}");
        pooled.fill()?;
        is_served(pooled)?;
        pooled.ensure_adds(&[("warm", 1)])
    })
}

/// By hand, or by an agent of before.
#[test]
fn a_place_that_was_made_in_a_mount_namespace_that_ended_is_made_again() -> Result<()> {
    for repair in
        [(|pooled| pooled.fill()) as fn(&Pooled<'_>) -> Result<()>, |pooled| pooled.add()?.remove()]
    {
        with_pool(&three(), |pooled| {
            pooled.repoint(&["unload"])?;
            elsewhere(pooled, &["pool", "set", NAME, "--config", "/run/functions.json"])?;
            elsewhere(pooled, &["pool", "fill", NAME])?;
            ensure!(fs::metadata(pooled.node().dirs().run.join("mnt/ns"))?.len() > 0, "no pin");
            configure(pooled)?;
            pooled.repoint(&["sweep", "--grace", "0s"])?;
            repair(pooled)?;
            let agent = pooled.agent()?;
            is_served(pooled)?;
            let pool = pooled.pool()?;
            ensure!(pool.count("mount_namespace") == 0, "{pool:?}");
            agent.stop()
        })?;
    }
    Ok(())
}

#[test]
fn adds_that_pools_decline_are_a_warning() -> Result<()> {
    with_pool(&three(), |pooled| {
        let agent = pooled.agent()?;
        let apart = || -> Result<()> {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).context("unshare")?;
            for _ in 0..3 {
                let one: Container<'_> = pooled.add()?;
                pooled.network().del(one.attachment(), None)?;
            }
            Ok(())
        };
        in_thread(apart)?;
        wait::until(SOON, "the agent warns", || {
            let log = agent.log()?;
            let warns = |line: &&str| line.contains("WARN") && line.contains("mount namespace");
            let warnings = log.lines().filter(warns).count();
            ensure!(warnings == 1, "{warnings} warnings: {log}");
            Ok(())
        })?;
        agent.stop()
    })
}

#[test]
fn an_agent_whose_socket_is_removed_makes_it_again() -> Result<()> {
    with_pool(&three(), |pooled| {
        let agent = pooled.agent()?;
        let socket = pooled.node().dirs().run.join("agent.sock");
        fs::remove_file(&socket)?;
        wait::until(SOON, "the agent listens again", || {
            ensure!(socket.exists(), "no socket");
            Ok(())
        })?;
        let one = pooled.add_function("resize")?;
        let slot = pooled.slot_of(&one)?.slot;
        one.remove()?;
        pooled.wait_for_slot(&slot, &["parked"])?;
        let log = agent.log()?;
        ensure!(log.contains("was removed, and is made again"), "{log}");
        agent.stop()
    })
}
