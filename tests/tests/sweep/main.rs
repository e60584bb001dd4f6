//! `repoint sweep`: what is stale is found and repaired, nothing else is touched, and a healthy node
//! has nothing that is stale, whatever runs on it.
#![cfg(test)]

mod broken;
mod elsewhere;
mod garbage;
mod healthy;
mod losses;
mod report;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use repoint::{
    datapath::Maps,
    model::SlotId,
    store::{Slot, Store, StoreError, Write},
};
use repoint_tests::{Pooled, cli};

/// A slot number of no database: their upper bits are drawn at random.
const NOBODY: SlotId = SlotId(0xdead_0000_beef);

/// Changes the database of a node behind everybody's back.
fn with_records<T>(
    pooled: &Pooled<'_>,
    work: impl FnOnce(&mut Write<'_>) -> Result<T, StoreError>,
) -> Result<T> {
    let store = Store::open(&pooled.node().dirs().run.join("state"))?;
    Ok(store.write(work)?)
}

/// A slot's record.
fn record(pooled: &Pooled<'_>, slot: &cli::Slot) -> Result<Slot> {
    let id: SlotId = slot.slot.parse()?;
    with_records(pooled, |transaction| transaction.slot(id))?.context("no record")
}

/// The first slot in a state.
fn slot_in(pooled: &Pooled<'_>, state: &str) -> Result<cli::Slot> {
    let found = pooled.slots()?.into_iter().find(|slot| slot.state == state);
    found.with_context(|| format!("no slot is {state}"))
}

/// The maps of a node.
fn maps(pooled: &Pooled<'_>) -> Result<Maps> {
    Maps::open_existing(&pooled.node().dirs().bpf)?.context("the data plane is not loaded")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
