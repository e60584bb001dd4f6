//! Agents, and others who do the same as they.

use std::fs::File;

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};
use repoint::{
    model::{Domain, SlotId},
    node::now,
    store::{
        SlotState::{self, Active, Claimed, Dirty, Parked, Scrubbing},
        Store, StoreError,
    },
};
use repoint_tests::{Agent, Pooled, command, with_pool};
use serde_json::json;

#[test]
fn of_two_agents_at_once_one_serves_and_the_other_says_so() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 8 }), |pooled| {
        for _ in 0..3 {
            let (agent, said) = Agent::race(pooled.node())?;
            println!("{}", said.trim());
            ensure!(said.contains("another repoint-agent runs"), "it says: {said}");
            pooled.wait_until("the pool is full", |pool| pool.warm == 3 && pool.total == 3)?;
            pooled.add()?.remove()?;
            pooled.wait_until("it is full again", |pool| pool.warm == 3)?;
            agent.stop()?;
        }
        Ok(())
    })
}

/// An agent that starts has slots scrubbed again whose scrubbing was cut short, and leaves those alone
/// that another process scrubs at that moment: it would scrub still when the slot has its next user.
#[test]
fn an_agent_leaves_a_slot_alone_that_another_scrubs() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8, "scope": "network" }), |pooled| {
        pooled.fill()?;
        let slots = pooled.slots()?;
        let [one, other] = slots.as_slice() else { bail!("{slots:?}") };
        let (one, other) = (one.slot.parse()?, other.slot.parse()?);
        // The network's containers may have them one after the other.
        for id in [one, other] {
            record(pooled, id, &[Claimed, Active, Dirty, Scrubbing])?;
        }
        let scrubs = lock(pooled, one)?;
        let agent = Agent::start(pooled.node())?;
        pooled.wait_for_slot(&other.to_string(), &["parked"])?;
        // What scrubs the one is ready with it, and two containers come.
        record(pooled, one, &[Parked])?;
        let containers = [pooled.add()?, pooled.add()?];
        for container in &containers {
            let add = ["address", "add", "192.0.2.1/32", "dev", "lo"];
            container.netns().run(|| command::run("ip", add))?;
        }
        drop(scrubs);
        // What the agent does now comes after what it had begun.
        let third = pooled.add()?;
        let slot = pooled.slot_of(&third)?.slot;
        third.remove()?;
        pooled.wait_for_slot(&slot, &["parked"])?;
        for container in containers {
            let name = &container.attachment().container_id;
            let shown = container.netns().run(|| command::run("ip", ["address", "show", "lo"]))?;
            ensure!(shown.contains("192.0.2.1"), "{name} was scrubbed: {shown}");
            container.check()?;
            container.remove()?;
        }
        agent.stop()
    })
}

/// Records that a slot goes through these states.
fn record(pooled: &Pooled<'_>, slot: SlotId, states: &[SlotState]) -> Result<()> {
    let store = Store::open(&pooled.node().dirs().run.join("state"))?;
    Ok(store.write(|transaction| {
        for state in states {
            transaction.advance(slot, *state, now(), |slot| {
                (slot.used, slot.retain, slot.domain) = (true, true, Some(Domain::Network));
            })?;
        }
        Ok::<_, StoreError>(())
    })?)
}

/// The lock of the process that scrubs a slot: its byte of a file.
fn lock(pooled: &Pooled<'_>, slot: SlotId) -> Result<File> {
    let path = pooled.node().dirs().run.join("scrub.lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    let byte = libc::flock {
        l_type: libc::F_WRLCK.try_into()?,
        l_whence: libc::SEEK_SET.try_into()?,
        l_start: slot.0.try_into()?,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&byte)).context("lock a slot's byte")?;
    Ok(file)
}
