//! A slot's half on the node, and what slots need of it, damaged as network managers and firewalls do
//! it: `repoint sweep`, the scrub, an ADD without an agent and the agent repair it, and CHECK sees it.
#![cfg(test)]

mod agent;
mod churn;
mod daemons;
mod damage;
mod node;
mod without_agent;

use std::{slice, time::Duration};

use anyhow::{Context as _, Result, ensure};
use repoint::{
    model::SlotId,
    netlink::RouteSocket,
    slot::{Compared, compare_half, look_at_halves},
    store::{self, Store},
};
use repoint_tests::{Container, Pooled, cli, node::OUTSIDE, traffic, traffic::Host, wait};
use serde_json::{Value, json};

/// How soon an agent repairs what other programs changed.
const REPAIRED: Duration = Duration::from_secs(5);

fn few() -> Value {
    json!({ "warm": 3, "maxSlots": 16 })
}

/// A slot's record.
fn record(pooled: &Pooled<'_>, slot: &cli::Slot) -> Result<store::Slot> {
    let id: SlotId = slot.slot.parse()?;
    let store = Store::open(&pooled.node().dirs().run.join("state"))?;
    store.read(|transaction| transaction.slot(id))?.context("no record")
}

/// Fails unless a slot's half on the node is as it was built.
fn ensure_whole(slot: &store::Slot) -> Result<()> {
    let seen = look_at_halves(&mut RouteSocket::open()?, &[slot], None)?;
    let compared = compare_half(slot, &seen[0], None);
    ensure!(compared == Compared::Own(Vec::new()), "slot {}: {compared:?}", slot.id);
    let programs = seen[0].programs;
    ensure!(programs.iter().all(Option::is_some), "slot {} runs {programs:?}", slot.id);
    Ok(())
}

/// Waits for an agent to repair slots.
fn wait_until_whole(slots: &[store::Slot]) -> Result<()> {
    wait::until(REPAIRED, "the agent repairs the slots", || slots.iter().try_for_each(ensure_whole))
}

/// Traffic from the node to a container, and from the container to the outside, both families.
fn ensure_traffic(pooled: &Pooled<'_>, container: &Container<'_>) -> Result<()> {
    let host = container.host()?;
    traffic::all(&Host::here("node")?, &host, &container.addresses()?)?;
    let outside = pooled.node().outside_host()?;
    OUTSIDE.iter().try_for_each(|address| traffic::tcp(&host, &outside, *address).map(drop))
}

/// A slot that is warm, one that is parked, and one in use.
struct Three<'a> {
    warm: cli::Slot,
    parked: cli::Slot,
    active: cli::Slot,
    container: Container<'a>,
}

impl<'a> Three<'a> {
    fn new(pooled: &'a Pooled<'a>) -> Result<Self> {
        let container = pooled.add()?;
        let active = pooled.slot_of(&container)?;
        let used = pooled.add_function("resize")?;
        let parked = pooled.slot_of(&used)?;
        used.remove()?;
        pooled.wait_for_slot(&parked.slot, &["parked"])?;
        let is_warm = |slot: &cli::Slot| slot.state == "warm";
        let warm = pooled.slots()?.into_iter().find(is_warm).context("no slot is warm")?;
        Ok(Self { warm, parked, active, container })
    }

    fn slots(&self) -> [&cli::Slot; 3] {
        [&self.warm, &self.parked, &self.active]
    }

    fn records(&self, pooled: &Pooled<'_>) -> Result<Vec<store::Slot>> {
        self.slots().into_iter().map(|slot| record(pooled, slot)).collect()
    }
}

/// Fails unless one slot is whole.
fn ensure_one_whole(pooled: &Pooled<'_>, slot: &cli::Slot) -> Result<()> {
    slice::from_ref(&record(pooled, slot)?).iter().try_for_each(ensure_whole)
}
