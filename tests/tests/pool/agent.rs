//! The agent: nobody waits for it, and what it does is done by the next one, or in line.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Agent, Container, Pooled,
    cli::Slot,
    command,
    plugin::Attachment,
    pooled::SOON,
    traffic::{self, Host},
    wait,
    web::{self, Server},
    with_pool,
};
use serde_json::json;

use crate::{character, eight};

#[test]
fn no_agent_is_needed() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 64 }), |pooled| {
        pooled.fill()?;
        let functions = ["resize", "convert"];
        let [one, two] = functions.map(|function| pooled.add_function(function));
        let kept = [one?, two?];
        let deleted = [pooled.add()?, pooled.add()?];
        pooled.ensure_adds(&[("built", 2), ("warm", 2)])?;
        let here = Host::here("node")?;
        for container in kept.iter().chain(&deleted) {
            container.check()?;
            traffic::all(&here, &container.host()?, &container.addresses()?)?;
        }
        for container in kept {
            let slot = pooled.slot_of(&container)?.slot;
            container.remove()?;
            let slot = pooled.slot(&slot)?.context("DEL deleted the slot")?;
            ensure!(slot.state == "parked", "DEL left the slot {}", slot.state);
        }
        for container in deleted {
            let slot = pooled.slot_of(&container)?.slot;
            container.remove()?;
            ensure!(pooled.slot(&slot)?.is_none(), "DEL kept a slot that no container may have");
        }
        for function in functions {
            pooled.add_function(function)?.remove()?;
        }
        pooled.add()?.remove()?;
        pooled.ensure_adds(&[("built", 3), ("reused", 2), ("warm", 2)])
    })
}

/// There is no agent, and a process of the container's is left: the slot goes with DEL all the same.
#[test]
fn a_slot_that_no_container_may_have_again_waits_for_no_process() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 4 }), |pooled| {
        pooled.fill()?;
        let container = pooled.add()?;
        let (slot, addresses) = (pooled.slot_of(&container)?.slot, container.addresses()?);
        let server = Server::start(&container.host()?)?;
        container.remove()?;
        ensure!(pooled.slot(&slot)?.is_none(), "DEL left it: {:?}", pooled.slots()?);
        web::silent(&[&Host::here("node")?], &addresses)?;
        drop(server);
        Ok(())
    })
}

/// A hit does not look for the rule, so that the agent must.
#[test]
fn a_flushed_masquerade_rule_comes_back() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let agent = pooled.agent()?;
        pooled.wait_until("the pool is filled", |pool| pool.warm >= 8)?;
        command::run("nft", ["flush", "ruleset"])?;
        wait::until(SOON, "the rule comes back", || {
            command::run("nft", ["list", "table", "inet", "repoint"]).map(drop)
        })?;
        pooled.add()?.remove()?;
        agent.stop()
    })
}

#[test]
fn a_killed_agent_is_missed_by_nobody_and_its_successor_takes_over() -> Result<()> {
    with_pool(&json!({ "warm": 4, "maxSlots": 64 }), |pooled| {
        let agent = pooled.agent()?;
        let before = pooled.add_function("resize")?;
        let slots: Vec<Slot> = ready(pooled)?;
        agent.kill()?;
        let during: Vec<Container<'_>> = (0..6)
            .map(|number| pooled.add_function(&format!("f{number}")))
            .collect::<Result<_>>()?;
        let adds = pooled.pool()?;
        ensure!(adds.hits >= 4 && adds.built > 0 && adds.declined == 0, "{adds:?}");
        let slot = pooled.slot_of(&before)?;
        traffic::all(&Host::here("node")?, &before.host()?, &before.addresses()?)?;
        before.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        let agent = pooled.agent()?;
        for container in during {
            container.check()?;
            container.remove()?;
        }
        let after = wait::until(SOON, "every slot is back", || {
            let slots = pooled.slots()?;
            // One that the killed agent was building is deleted when it is a minute old.
            let is_back = |slot: &Slot| ["warm", "parked", "building"].contains(&&*slot.state);
            ensure!(slots.iter().all(is_back), "{slots:?}");
            Ok(slots)
        })?;
        for slot in slots {
            let same = after.iter().any(|other| character(other) == character(&slot));
            ensure!(same, "{slot:?} did not survive");
        }
        let again = pooled.add_function("resize")?;
        ensure!(character(&pooled.slot_of(&again)?) == character(&slot), "not {slot:?}");
        again.remove()?;
        agent.stop()
    })
}

fn ready(pooled: &Pooled<'_>) -> Result<Vec<Slot>> {
    Ok(pooled.slots()?.into_iter().filter(|slot| slot.state == "warm").collect())
}

/// DELs while the agent is away find the namespace in use; it is for the next agent.
#[test]
fn an_agent_brings_back_what_was_in_use_when_there_was_none() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 4 }), |pooled| {
        pooled.fill()?;
        let container = pooled.add_function("resize")?;
        let slot = pooled.slot_of(&container)?.slot;
        let server = Server::start(&container.host()?)?;
        container.remove()?;
        pooled.wait_for_slot(&slot, &["dirty"])?;
        let agent = pooled.agent()?;
        pooled.wait_for_slot(&slot, &["dirty"])?;
        drop(server);
        pooled.wait_for_slot(&slot, &["parked"])?;
        agent.stop()
    })
}

#[test]
fn a_second_agent_refuses_to_start() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let agent = pooled.agent()?;
        let said = Agent::fail(pooled.node())?;
        println!("{said}");
        ensure!(said.contains("another repoint-agent runs"), "it says: {said}");
        pooled.add()?.remove()?;
        pooled.ensure_adds(&[("warm", 1)])?;
        agent.stop()
    })
}

/// What slots are built from is what the network's configuration says now.
#[test]
fn slots_of_an_old_configuration_are_replaced() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 10 }), |pooled| {
        let agent = pooled.agent()?;
        let old: Vec<Slot> = ready(pooled)?;
        let network = pooled.network_with(|configuration| configuration["mtu"] = json!(1400))?;
        let container = Container::add(&network, "new")?;
        ensure!(container.result()["interfaces"][1]["mtu"] == 1400, "{}", container.result());
        wait::until(SOON, "old slots are gone", || {
            let now = pooled.slots()?;
            ensure!(!old.iter().any(|slot| now.contains(slot)), "{now:?}");
            Ok(())
        })?;
        pooled.wait_until("the pool is full", |pool| pool.warm == 2)?;
        container.check()?;
        container.remove()?;
        agent.stop()
    })
}

/// STATUS does not depend on the agent.
#[test]
fn the_plugin_is_ready_with_and_without_an_agent() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let status = || {
            let network = pooled.network();
            network.call_single("STATUS", &Attachment::new("", Path::new("")), None)?.success()
        };
        status()?;
        let agent = pooled.agent()?;
        status()?;
        agent.kill()?;
        status().map(drop)
    })
}
