//! Folders that are removed under a running agent.

use std::fs;

use anyhow::{Result, ensure};
use repoint_tests::{
    Pooled, command,
    pooled::{NAME, SOON},
    traffic::{self, Host},
    wait, with_pool,
};
use serde_json::json;

use crate::{everything_works, folder};

fn set_pool(pooled: &Pooled<'_>) -> Result<()> {
    pooled.repoint(&["pool", "set", NAME, "--config", "/run/functions.json"]).map(drop)
}

/// Waits until the agent fills pools that are on record in the new database.
fn agent_follows(pooled: &Pooled<'_>) -> Result<()> {
    set_pool(pooled)?;
    pooled.wait_until("the new pool is full", |pool| pool.warm >= pool.target).map(drop)
}

/// Waits until interfaces of the old database are gone.
fn nothing_is_left(pooled: &Pooled<'_>) -> Result<()> {
    wait::until(SOON, "nothing is left of the old database", || {
        let links = command::run("ip", ["-o", "link", "show", "group", "29297"])?;
        let slots = pooled.slots()?;
        ensure!(links.lines().count() == slots.len(), "{links}{slots:#?}");
        Ok(())
    })
}

#[test]
fn an_agent_whose_database_is_removed_takes_the_next_one() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        let agent = pooled.agent()?;
        for _ in 0..3 {
            let lost = pooled.add()?;
            fs::remove_dir_all(folder(pooled))?;
            agent_follows(pooled)?;
            // Nobody of the new database is taken for one of the old.
            let one = pooled.add()?;
            one.check()?;
            one.remove()?;
            // It has kept its traffic, and its addresses.
            traffic::all(&Host::here("node")?, &lost.host()?, &lost.addresses()?)?;
            lost.remove()?;
            nothing_is_left(pooled)?;
        }
        let log = agent.log()?;
        ensure!(log.matches("beginning anew").count() == 3, "{log}");
        agent.stop()?;
        everything_works(pooled)
    })
}

/// All that can be removed: what is mounted stays.
#[test]
fn an_agent_whose_run_dir_is_removed_makes_it_again() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        let agent = pooled.agent()?;
        let run = pooled.node().dirs().run.clone();
        for entry in fs::read_dir(&run)? {
            let path = entry?.path();
            // Namespaces are mounted in one of the folders.
            drop(if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) });
        }
        wait::until(SOON, "the agent listens again", || {
            ensure!(run.join("agent.sock").exists(), "no socket");
            Ok(())
        })?;
        agent_follows(pooled)?;
        pooled.add()?.remove()?;
        nothing_is_left(pooled)?;
        agent.stop()?;
        everything_works(pooled)
    })
}
