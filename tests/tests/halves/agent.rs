//! The agent: it repairs as soon as the kernel reports a change, vouches for slots meanwhile, and backs
//! off where another program undoes it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint::{node::now, store::Store};
use repoint_tests::{Pooled, command, node::UPLINK, pooled::SOON, wait, with_pool};

use crate::{REPAIRED, Three, damage, ensure_traffic, few, record, wait_until_whole};

/// The sweep comes too late to be what repairs.
const NEVER: Duration = Duration::from_hours(1);

/// Until when the agent vouches for slots.
fn watched_until(pooled: &Pooled<'_>) -> Result<u64> {
    let store = Store::open(&pooled.node().dirs().run.join("state"))?;
    Ok(store.read(|transaction| transaction.watched_until())?)
}

fn wait_until_vouched(pooled: &Pooled<'_>) -> Result<()> {
    wait::until(SOON, "the agent vouches for the slots", || {
        ensure!(now() < watched_until(pooled)?, "it does not");
        Ok(())
    })
}

#[test]
fn an_agent_repairs_each_part_of_slots_that_wait_and_of_those_in_use() -> Result<()> {
    with_pool(&few(), |pooled| {
        let agent = pooled.agent_sweeping(NEVER)?;
        damage::with_bridge(|| {
            let three = Three::new(pooled)?;
            let records = three.records(pooled)?;

            for (what, _, damage) in damage::ALL {
                three.slots().into_iter().try_for_each(damage)?;
                let damaged = Instant::now();
                wait_until_whole(&records).context(what)?;
                println!("{what}: repaired in {:?}", damaged.elapsed());
                three.container.check()?;
            }
            ensure_traffic(pooled, &three.container)?;
            let again = pooled.add_function("resize")?;
            ensure!(pooled.slot_of(&again)?.slot == three.parked.slot, "another slot");
            ensure_traffic(pooled, &again)?;
            again.remove()?;
            three.container.remove()
        })?;
        agent.stop()
    })
}

#[test]
fn an_agent_replaces_a_slot_whose_interface_is_gone() -> Result<()> {
    with_pool(&few(), |pooled| {
        let agent = pooled.agent_sweeping(NEVER)?;
        let three = Three::new(pooled)?;

        for slot in [&three.warm, &three.parked] {
            damage::ip(&["link", "del", &slot.host_ifname])?;
        }
        for slot in [&three.warm, &three.parked] {
            wait::until(REPAIRED, "the slot is deleted", || {
                ensure!(pooled.slot(&slot.slot)?.is_none(), "slot {} is there", slot.slot);
                Ok(())
            })?;
        }
        for _ in 0..3 {
            let container = pooled.add()?;
            ensure_traffic(pooled, &container)?;
            container.remove()?;
        }
        three.container.remove()?;
        agent.stop()
    })
}

#[test]
fn nobody_vouches_for_slots_when_the_agent_has_ended() -> Result<()> {
    with_pool(&few(), |pooled| {
        ensure!(watched_until(pooled)? == 0, "slots are vouched for without an agent");
        let agent = pooled.agent()?;
        wait_until_vouched(pooled)?;
        agent.stop()?;
        ensure!(watched_until(pooled)? == 0, "an agent that was asked to end vouches still");
        let agent = pooled.agent()?;
        wait_until_vouched(pooled)?;
        agent.kill()?;
        let left = Duration::from_nanos(watched_until(pooled)?.saturating_sub(now()));
        ensure!(left <= Duration::from_secs(3), "a killed agent vouches for {left:?} more");
        wait::until(SOON, "the word of a killed agent passes", || {
            ensure!(now() >= watched_until(pooled)?, "not yet");
            Ok(())
        })?;
        let container = pooled.add()?;
        ensure_traffic(pooled, &container)?;
        container.remove()
    })
}

/// How long after the first repair of an interface the agent made one that it logs, in seconds.
fn seconds_until(line: &str) -> Result<f64> {
    let (_, rest) = line.split_once("repairs within ").context("no time")?;
    let (seconds, _) = rest.split_once("s:").context("no seconds")?;
    seconds.parse().with_context(|| format!("read {seconds}"))
}

/// Another program deletes a route whenever it is there.
#[test]
fn an_agent_backs_off_where_a_program_undoes_its_repairs() -> Result<()> {
    with_pool(&few(), |pooled| {
        let agent = pooled.agent_sweeping(NEVER)?;
        let container = pooled.add()?;
        let slot = pooled.slot_of(&container)?;

        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let fight = scope.spawn(|| {
                let mut deleted = 0;
                let address = damage::address(&slot, 0)?;
                while !ended.load(Ordering::Relaxed) {
                    let route = ["route", "del", address, "dev", slot.host_ifname.as_str()];
                    deleted += u32::from(command::run("ip", route).is_ok());
                }
                anyhow::Ok(deleted)
            });
            let begun = Instant::now();
            let backs_off = wait::until(SOON, "the agent logs two repairs that wait", || {
                let log = agent.log()?;
                let waits = log.lines().filter(|line| line.contains("the next repair waits 3s"));
                let lines: Vec<&str> = waits.take(2).collect();
                ensure!(lines.len() == 2, "{} are logged", lines.len());
                Ok(lines.into_iter().map(str::to_owned).collect::<Vec<_>>())
            });
            ended.store(true, Ordering::Relaxed);
            let deleted = fight.join().map_err(|_| anyhow::anyhow!("the fight panicked"))??;
            println!("{deleted} deletions in {:?}", begun.elapsed());
            let mut at = Vec::new();
            for line in backs_off? {
                println!("{line}");
                ensure!(line.contains(&slot.host_ifname) && line.contains("no route to"), "{line}");
                at.push(seconds_until(&line)?);
            }
            // By the agent's own clock, so that it holds on a loaded machine; seconds are rounded.
            ensure!(at[1] - at[0] >= 2.9, "repairs after {at:?} s");
            Ok(())
        })?;
        // The program has ended: the next repair is the last.
        wait::until(SOON, "it is repaired", || {
            crate::ensure_whole(&record(pooled, &slot)?)?;
            container.check()
        })?;
        container.remove()?;
        agent.stop()
    })
}

/// Both a changed MTU and another uplink.
#[test]
fn a_changed_uplink_reaches_the_pools_at_once() -> Result<()> {
    with_pool(&few(), |pooled| {
        let agent = pooled.agent_sweeping(NEVER)?;

        for mtu in [1400, 1350, 1500] {
            let text = mtu.to_string();
            damage::ip(&["link", "set", UPLINK, "mtu", &text])?;
            let changed = Instant::now();
            wait::until(Duration::from_secs(4), "warm slots have the new MTU", || {
                let slots = pooled.slots()?;
                let mut warm = slots.iter().filter(|slot| slot.state == "warm").peekable();
                ensure!(warm.peek().is_some(), "no slot is warm");
                for slot in warm {
                    let found = record(pooled, slot)?.require_built()?.mtu;
                    ensure!(found == mtu, "slot {} has MTU {found}", slot.slot);
                }
                Ok(())
            })?;
            println!("MTU {mtu}: after {:?}", changed.elapsed());
        }
        agent.stop()
    })
}
