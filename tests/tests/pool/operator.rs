//! What an operator does with a pool by the CLI, and a shell with a slot.

use std::{net::IpAddr, path::Path};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Netns,
    cli::{Activated, Slot, query, slot_of},
    command,
    pooled::{NAME, TENANT},
    traffic::{self, Host},
    web, with_pool,
};
use serde_json::json;

use crate::eight;

#[test]
fn an_operator_sizes_fills_drains_and_removes_a_pool() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 10 }), |pooled| {
        let sizes = |warm, total, target, max| -> Result<()> {
            let pool = pooled.pool()?;
            let found = (pool.warm, pool.total, pool.target, pool.max);
            ensure!(found == (warm, total, target, max), "{pool:?}");
            Ok(())
        };
        sizes(0, 0, 2, 10)?;
        pooled.fill()?;
        sizes(2, 2, 2, 10)?;
        pooled.repoint(&["pool", "set", NAME, "--warm", "4", "--max", "6"])?;
        sizes(2, 2, 4, 6)?;
        pooled.fill()?;
        sizes(4, 4, 4, 6)?;
        let refusal = pooled.repoint(&["pool", "set", NAME, "--warm", "7"]);
        println!("{:#}", refusal.err().context("more warm slots than the maximum")?);
        let refusal = pooled.repoint(&["pool", "fill", NAME, "--count", "3"]);
        println!("{:#}", refusal.err().context("more slots than there is room for")?);
        pooled.repoint(&["pool", "fill", NAME, "--count", "2"])?;
        sizes(6, 6, 4, 6)?;
        let used = pooled.add()?;
        pooled.repoint(&["pool", "drain", NAME])?;
        sizes(0, 1, 4, 6)?;
        used.check()?;
        pooled.repoint(&["pool", "reset", NAME])?;
        sizes(0, 1, 2, 10)?;
        pooled.repoint(&["pool", "remove", NAME])?;
        ensure!(pooled.pool().is_err(), "the pool is on record still");
        traffic::all(&Host::here("node")?, &used.host()?, &used.addresses()?)?;
        used.remove()?;
        let left = pooled.slots()?;
        ensure!(left.is_empty(), "DEL kept a slot of a pool that is gone: {left:?}");
        Ok(())
    })
}

#[test]
fn the_agent_follows_the_operator() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 10 }), |pooled| {
        let agent = pooled.agent()?;
        pooled.repoint(&["pool", "set", NAME, "--warm", "6"])?;
        pooled.wait_until("the pool has grown", |pool| pool.warm == 6)?;
        pooled.repoint(&["pool", "set", NAME, "--warm", "0"])?;
        pooled.wait_until("the pool is empty", |pool| pool.total == 0)?;
        pooled.repoint(&["pool", "reset", NAME])?;
        pooled.wait_until("the pool is as configured", |pool| pool.warm == 2)?;
        pooled.repoint(&["pool", "drain", NAME])?;
        pooled.wait_until("the pool is full again", |pool| pool.warm == 2)?;
        agent.stop()
    })
}

#[test]
fn a_shell_activates_and_parks() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let agent = pooled.agent()?;
        let node = pooled.node();
        let resize = ["activate", "--function", "resize", "--tenant", TENANT];
        let path = pooled.repoint(&resize)?;
        let slot = slot_of(node, "resize")?;
        let host = Host::at("resize", Path::new(path.trim()))?;
        let addresses = addresses(&slot)?;
        let here = Host::here("node")?;
        traffic::all(&here, &host, &addresses)?;
        let mounted = Netns::inode_at(Path::new(path.trim()))?;
        ensure!(Some(mounted.1) == slot.netns_inode, "{path} is another namespace");
        let again = pooled.repoint(&resize);
        println!("{:#}", again.err().context("one id was activated twice")?);
        pooled.repoint(&["park", "resize"])?;
        web::silent(&[&here], &addresses)?;
        ensure!(!Path::new(path.trim()).exists(), "{path} is left");
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        let known: Activated = query(node, &[&resize[..], &["--id", "second"]].concat())?;
        ensure!(known.slot == slot.slot && known.outcome == "reused", "{known:?}, not {slot:?}");
        traffic::all(&here, &Host::at("resize", &known.netns)?, &addresses)?;
        pooled.repoint(&["park", "second"])?;
        let again = pooled.repoint(&["park", "second"]).err().context("it was parked twice")?;
        ensure!(format!("{again:#}").contains("has no slot"), "{again:#}");
        agent.stop()
    })
}

fn addresses(slot: &Slot) -> Result<Vec<IpAddr>> {
    let address = |text: &String| Ok(text.split('/').next().unwrap_or_default().parse()?);
    slot.addresses.iter().map(address).collect()
}

#[test]
fn unload_spares_containers_and_waits_for_no_agent() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let agent = pooled.agent()?;
        let refusal = pooled.repoint(&["unload"]).err().context("unloaded beside an agent")?;
        println!("{refusal:#}");
        let container = pooled.add()?;
        agent.stop()?;
        let refusal = pooled.repoint(&["unload"]).err().context("unloaded under a container")?;
        println!("{refusal:#}");
        traffic::all(&Host::here("node")?, &container.host()?, &container.addresses()?)?;
        pooled.repoint(&["unload", "--force"])?;
        let found = container.netns().run(|| command::run("ip", ["-brief", "link"]))?;
        ensure!(found.lines().count() == 1, "the runtime's own namespace holds:\n{found}");
        container.remove()
    })
}
