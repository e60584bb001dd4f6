//! A network with a pool: ADD gives a slot that is ready, DEL parks it, the agent reconciles the pool,
//! and everything goes on while there is no agent.
#![cfg(test)]

mod agent;
mod function;
mod operator;
mod place;
mod taken;

use std::{
    collections::HashSet,
    panic,
    path::Path,
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Agent, Pooled,
    cli::Slot,
    command,
    node::{NODE, OUTSIDE},
    plugin::Attachment,
    traffic::{self, Host},
    web::{self, Server},
    with_pool,
};
use serde_json::{Value, json};

/// The project's code for what is there already.
const ALREADY_EXISTS: u32 = 101;

/// ADDs at the same time.
const AT_ONCE: usize = 24;

fn eight() -> Value {
    json!({ "warm": 8, "maxSlots": 64 })
}

/// The parts of a slot that its function finds again.
fn character(slot: &Slot) -> (&str, &str, &[String], Option<u64>) {
    (&slot.slot, &slot.mac, &slot.addresses, slot.netns_inode)
}

#[test]
fn a_warm_container_talks_while_it_is_there_and_is_silent_after() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let agent = pooled.agent()?;
        let (one, two) = (pooled.add()?, pooled.add()?);
        pooled.ensure_adds(&[("warm", 2)])?;
        let (inside, other, here) = (one.host()?, two.host()?, Host::here("node")?);
        let addresses = one.addresses()?;
        let server = Server::start(&inside)?;
        for from in [&other, &here] {
            server.answers(from, &addresses)?;
            traffic::all(from, &inside, &addresses)?;
        }
        for (own, there) in NODE.into_iter().zip(OUTSIDE) {
            let seen = traffic::tcp(&inside, &pooled.node().outside_host()?, there)?;
            ensure!(seen == own, "{there} sees {seen}, not the node's {own}");
        }
        one.check()?;
        let slot = pooled.slot_of(&one)?;
        one.remove()?;
        // Its server runs on: some runtimes take the network away first.
        web::silent(&[&other, &here], &addresses)?;
        // No container may have the slot again: its process is not waited for.
        pooled.wait_for_slot(&slot.slot, &["gone"])?;
        drop(server);
        two.remove()?;
        pooled.wait_until("all slots are warm", |pool| pool.warm == pool.total)?;
        agent.stop()
    })
}

#[test]
fn the_result_is_what_the_container_has() -> Result<()> {
    with_pool(&eight(), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let slot = pooled.slot_of(&one)?;
        let result = one.result();
        ensure!(result["interfaces"][1]["mac"] == slot.mac, "{result}");
        ensure!(result["interfaces"][1]["sandbox"] == json!(one.netns().path()), "{result}");
        ensure!(result["interfaces"][0]["name"] == slot.host_ifname, "{result}");
        let shown = one.netns().run(|| command::run("ip", ["-o", "address", "show", "eth0"]))?;
        let link = one.netns().run(|| command::run("ip", ["-o", "link", "show", "eth0"]))?;
        ensure!(link.contains(&slot.mac) && link.contains("UP"), "{link}");
        for ip in result["ips"].as_array().context("no ips")? {
            let address = ip["address"].as_str().context("no address")?;
            ensure!(shown.contains(address), "{address} is not in {shown}");
        }
        one.remove()
    })
}

/// More at once than there are warm slots, with and without an agent: some are served from the pool,
/// the others are built, and all have addresses of their own that answer.
#[test]
fn adds_at_the_same_time_share_nothing() -> Result<()> {
    with_pool(&eight(), |pooled| {
        pooled.fill()?;
        for round in ["alone", "with an agent"] {
            let agent = if round == "alone" { None } else { Some(pooled.agent()?) };
            let containers = at_once(AT_ONCE, || pooled.add())?;
            let mut addresses = Vec::new();
            for container in &containers {
                container.check()?;
                addresses.extend(container.addresses()?);
            }
            let different: HashSet<_> = addresses.iter().collect();
            ensure!(different.len() == 2 * AT_ONCE, "{addresses:?}");
            println!("{round}: {:?}", pooled.pool()?.adds);
            let here = Host::here("node")?;
            for container in &containers {
                traffic::all(&here, &container.host()?, &container.addresses()?)?;
            }
            thread::scope(|scope| {
                let removals: Vec<_> =
                    containers.into_iter().map(|one| scope.spawn(move || one.remove())).collect();
                removals.into_iter().try_for_each(joined)
            })?;
            pooled.wait_until("all slots are warm", |pool| pool.warm == pool.total)?;
            agent.map_or(Ok(()), Agent::stop)?;
        }
        let pool = pooled.pool()?;
        ensure!(pool.hits >= 16 && pool.declined == 0, "{pool:?}");
        Ok(())
    })
}

/// Does something as often as is said, by a thread each.
fn at_once<T: Send>(times: usize, work: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..times).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().map(joined).collect()
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}

#[test]
fn repeated_add_fails_and_repeated_del_does_not() -> Result<()> {
    with_pool(&eight(), |pooled| {
        pooled.fill()?;
        let one = pooled.add_function("resize")?;
        let slot = pooled.slot_of(&one)?;
        let again = pooled.network().call_single("ADD", one.attachment(), None)?.error()?;
        println!("code {}: {} {}", again.code, again.msg, again.details);
        ensure!(again.code == ALREADY_EXISTS, "code {}", again.code);
        ensure!(pooled.slot_of(&one)? == slot, "the first attachment was changed");
        one.check()?;
        for _ in 0..3 {
            one.delete()?;
        }
        one.remove_netns()?;
        // It was parked once, and is there once.
        let pool = pooled.pool()?;
        ensure!((pool.warm, pool.parked, pool.total) == (7, 1, 8), "{pool:?}");
        Ok(())
    })
}

#[test]
fn check_finds_what_was_changed_in_a_warm_slot() -> Result<()> {
    with_pool(&eight(), |pooled| {
        pooled.fill()?;
        let changes: [&[&str]; 4] = [
            &["address", "flush", "dev", "eth0"],
            &["route", "del", "default"],
            &["link", "set", "eth0", "down"],
            &["link", "del", "eth0"],
        ];
        for change in changes {
            let container = pooled.add()?;
            container.check()?;
            container.netns().run(|| command::run("ip", change))?;
            let error = container.check().err().with_context(|| format!("passes: {change:?}"))?;
            println!("{change:?}: {error:#}");
            container.remove()?;
        }
        Ok(())
    })
}

#[test]
fn gc_parks_what_the_runtime_forgot_and_spares_the_pool() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let agent = pooled.agent()?;
        let (kept, stale) = (pooled.add_function("kept")?, pooled.add_function("stale")?);
        let slot = pooled.slot_of(&stale)?;
        let addresses = stale.addresses()?;
        let listed = json!([{ "containerID": kept.attachment().container_id, "ifname": "eth0" }]);
        collect(pooled, listed)?;
        web::silent(&[&kept.host()?], &addresses)?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        kept.check()?;
        traffic::all(&Host::here("node")?, &kept.host()?, &kept.addresses()?)?;
        // The runtime has its own namespace again, with one mount to take away.
        stale.remove()?;
        collect(pooled, json!([]))?;
        pooled.wait_until("nobody has a slot", |pool| pool.warm + pool.parked == pool.total)?;
        kept.remove()?;
        agent.stop()
    })
}

fn collect(pooled: &Pooled<'_>, valid: Value) -> Result<()> {
    let network = pooled.network_with(|configuration| {
        configuration["cni.dev/valid-attachments"] = valid;
    })?;
    let nobody = Attachment::new("", Path::new(""));
    network.call_single("GC", &nobody, None)?.success().map(drop)
}

#[test]
fn a_full_pool_serves_the_ordinary_way() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 1 }), |pooled| {
        pooled.fill()?;
        let (first, second) = (pooled.add()?, pooled.add()?);
        pooled.ensure_adds(&[("full", 1), ("warm", 1)])?;
        second.check()?;
        traffic::all(&first.host()?, &second.host()?, &second.addresses()?)?;
        second.remove()?;
        first.remove()
    })
}

/// The runtime's mount comes off alone when DEL has not been called, or comes too late.
#[test]
fn a_namespace_that_is_gone_before_del_leaves_nothing() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let agent = pooled.agent()?;
        let (unmounted, unnamed) = (pooled.add()?, pooled.add()?);
        let here = Host::here("node")?;
        let gone = unmounted.addresses()?;
        let attachment = unmounted.attachment().clone();
        drop(unmounted);
        pooled.network().del(&attachment, None)?;
        web::silent(&[&here], &gone)?;
        let attachment = Attachment { netns: None, ..unnamed.attachment().clone() };
        pooled.network().del(&attachment, None)?;
        web::silent(&[&here], &unnamed.addresses()?)?;
        unnamed.remove_netns()?;
        pooled.wait_until("all slots are warm", |pool| pool.warm == pool.total)?;
        agent.stop()
    })
}
