//! `repoint evict`: a tenant that was deleted and made again under its name gets nothing of what was
//! its before.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Agent, command, dist, missing,
    pooled::user,
    traffic::{self, Host},
    web::Server,
    with_pool,
};
use serde_json::{Value, json};

use crate::{cookie, leave};

fn some() -> Value {
    json!({ "warm": 2, "maxSlots": 32 })
}

fn evicted(has_agent: bool) -> Result<()> {
    with_pool(&some(), |pooled| {
        let agent = if has_agent { Some(pooled.agent()?) } else { None };
        let runs = pooled.add_tenants("a", "runs")?;
        let (slot, running) = (pooled.slot_of(&runs)?.slot, cookie(&runs)?);
        let (waits, waiting) = leave(pooled, pooled.add_tenants("a", "waits")?)?;
        let (others, others_cookie) = leave(pooled, pooled.add_tenants("b", "waits")?)?;
        let made = pooled.operate("PREPARE", &user("a", "prepared"))?.json()?;
        let prepared = made["slots"][0]["slot"].as_str().unwrap_or_default().to_owned();
        let said = pooled.repoint(&["evict", "--tenant", "a"])?;
        println!("{said}");
        ensure!(said.contains("deleted 2 slots of tenant a; 1 in use"), "it says {said}");
        for number in [&waits, &prepared] {
            ensure!(pooled.slot(number)?.is_none(), "slot {number} is there still");
        }
        // The running one goes on.
        traffic::all(&Host::here("node")?, &runs.host()?, &runs.addresses()?)?;
        runs.check()?;
        let new = pooled.add_tenants("a", "waits")?;
        ensure!(
            ![waiting, running].contains(&cookie(&new)?),
            "it has what was the tenant's before"
        );
        runs.remove()?;
        pooled.wait_for_slot(&slot, &["gone"])?;
        let again = pooled.add_tenants("a", "runs")?;
        ensure!(
            ![waiting, running].contains(&cookie(&again)?),
            "it has what was the tenant's before"
        );
        // What the tenant has had since waits for it as ever.
        let kept = cookie(&again)?;
        let (own, _) = leave(pooled, again)?;
        let back = pooled.add_tenants("a", "runs")?;
        ensure!(cookie(&back)? == kept && pooled.slot_of(&back)?.slot == own, "it got another one");
        // Other tenants keep theirs.
        let other = pooled.add_tenants("b", "waits")?;
        ensure!(cookie(&other)? == others_cookie && pooled.slot_of(&other)?.slot == others);
        for container in [new, back, other] {
            container.remove()?;
        }
        agent.map_or(Ok(()), Agent::stop)
    })
}

#[test]
fn nothing_of_an_evicted_tenant_is_given_again() -> Result<()> {
    evicted(true)?;
    evicted(false)
}

/// A process of the tenant's is in its slot still: it is not waited for.
#[test]
fn an_evicted_slot_goes_with_what_is_in_it() -> Result<()> {
    with_pool(&some(), |pooled| {
        let agent = pooled.agent()?;
        let container = pooled.add_tenants("a", "resize")?;
        let slot = pooled.slot_of(&container)?.slot;
        let server = Server::start(&container.host()?)?;
        container.remove()?;
        pooled.wait_for_slot(&slot, &["dirty"])?;
        pooled.repoint(&["evict", "--tenant", "a"])?;
        pooled.wait_for_slot(&slot, &["gone"])?;
        drop(server);
        agent.stop()
    })
}

/// Killed when it had recorded what is to go, and not yet deleted it: no container gets it.
#[test]
fn an_eviction_that_is_killed_counts() -> Result<()> {
    let cli = dist::failpoints().join("repoint");
    if missing([&cli]) {
        return Ok(());
    }
    with_pool(&some(), |pooled| {
        pooled.fill()?;
        let (slot, waiting) = leave(pooled, pooled.add_tenants("a", "resize")?)?;
        let mut evict = Command::new(&cli);
        evict.args(pooled.node().dirs().arguments()).args(["evict", "--tenant", "a"]);
        let ended =
            command::output_with_input(evict.env("REPOINT_FAILPOINT", "evict:recorded"), &[])?;
        ensure!(!ended.status.success(), "it was not killed");
        ensure!(pooled.slot(&slot)?.is_some(), "it is deleted already");
        let next = pooled.add_tenants("a", "resize")?;
        ensure!(cookie(&next)? != waiting, "it has what was the tenant's before");
        let (own, _) = leave(pooled, next)?;
        let said = pooled.repoint(&["evict", "--tenant", "a"])?;
        ensure!(said.contains("deleted 2 slots"), "it says {said}");
        for number in [slot, own] {
            ensure!(pooled.slot(&number)?.is_none(), "slot {number} is there still");
        }
        Ok(())
    })
}

#[test]
fn an_unknown_tenant_has_nothing_to_evict() -> Result<()> {
    with_pool(&some(), |pooled| {
        pooled.fill()?;
        let (slot, _) = leave(pooled, pooled.add_tenants("a", "resize")?)?;
        let refusal =
            pooled.repoint(&["evict", "--tenant", "A"]).err().context("it was evicted")?;
        ensure!(format!("{refusal:#}").contains("no slot is of tenant A"), "{refusal:#}");
        ensure!(pooled.slot(&slot)?.is_some(), "another tenant's is gone");
        Ok(())
    })
}
