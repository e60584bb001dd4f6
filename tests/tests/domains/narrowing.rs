//! A network whose scope becomes narrower: what was shared more widely is not given any more.

use anyhow::{Result, ensure};
use repoint_tests::{Agent, Container, pooled::NAME, pooled::user, with_pool};
use serde_json::json;

use crate::{cookie, leave};

fn narrowed(has_agent: bool) -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 32, "scope": "network" }), |pooled| {
        let agent = if has_agent { Some(pooled.agent()?) } else { None };
        // Of the network's domain one that waits and one that runs; of a function's one that waits.
        let runs = pooled.add_tenants("a", "runs")?;
        let (running, mut wide) = (pooled.slot_of(&runs)?.slot, vec![cookie(&runs)?]);
        let anonymous = pooled.add()?;
        let args = format!("{};repoint.dev/scope=function", user("a", "own"));
        let (own, owns) = leave(pooled, pooled.add_with(|pod| pod.args(&args))?)?;
        let (waits, waiting) = leave(pooled, anonymous)?;
        wide.push(waiting);
        let (file, network) = pooled.reconfigured(|configuration| {
            configuration["pool"]["scope"] = json!("function");
        })?;
        if has_agent {
            pooled.repoint(&["pool", "set", NAME, "--config", &file])?;
            pooled.wait_for_slot(&waits, &["gone"])?;
        }
        let add = |args: &str| Container::add_with(&network, &pooled.name(), |pod| pod.args(args));
        for args in ["", "repoint.dev/tenant=a", &user("a", "runs"), &user("b", "f")] {
            let container = add(args)?;
            ensure!(!wide.contains(&cookie(&container)?), "{args:?} has what the network shared");
            container.check()?;
            container.remove()?;
        }
        // What its function alone had is its function's.
        let again = add(&user("a", "own"))?;
        ensure!(cookie(&again)? == owns && pooled.slot_of(&again)?.slot == own, "it is another");
        again.remove()?;
        runs.check()?;
        runs.remove()?;
        pooled.wait_for_slot(&running, &["gone"])?;
        agent.map_or(Ok(()), Agent::stop)
    })
}

#[test]
fn a_narrower_scope_has_nothing_of_wider_domains() -> Result<()> {
    narrowed(true)?;
    narrowed(false)
}

/// What a function had stays the function's where the scope becomes wider, and wide again.
#[test]
fn a_wider_scope_has_nothing_of_narrower_domains() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 32 }), |pooled| {
        let (_, narrow) = leave(pooled, pooled.add_tenants("a", "f")?)?;
        let (_, wide) = pooled.reconfigured(|configuration| {
            configuration["pool"]["scope"] = json!("network");
        })?;
        let add = |network, tenant, function| {
            Container::add_with(network, &pooled.name(), |pod| pod.args(&user(tenant, function)))
        };
        let mut seen = Vec::new();
        for (tenant, function) in [("b", "f"), ("a", "g"), ("a", "f")] {
            let container = add(&wide, tenant, function)?;
            seen.push(cookie(&container)?);
            let (slot, _) = leave(pooled, container)?;
            println!("{tenant}'s {function} had slot {slot}");
        }
        ensure!(!seen.contains(&narrow), "the function's went to the network: {seen:?}");
        ensure!(seen.iter().all(|one| *one == seen[0]), "the network's was not shared: {seen:?}");
        // Narrow again, it gets what it had then.
        let again = add(pooled.network(), "a", "f")?;
        ensure!(cookie(&again)? == narrow, "it is another");
        again.remove()
    })
}

/// Containers without a tenant trust each other no more: none gets what another left.
#[test]
fn what_was_shared_without_a_tenant_is_given_to_none_when_the_key_is_gone() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 32, "shareWithoutTenant": true }), |pooled| {
        let resize = "repoint.dev/function=resize";
        let (slot, left) = leave(pooled, pooled.add_with(|pod| pod.args(resize))?)?;
        let again = pooled.add_with(|pod| pod.args(resize))?;
        ensure!(cookie(&again)? == left && pooled.slot_of(&again)?.slot == slot, "not shared");
        leave(pooled, again)?;
        let (_, network) = pooled.reconfigured(|configuration| {
            configuration["pool"]["shareWithoutTenant"] = json!(false);
        })?;
        for args in [resize, "", &user("a", "resize")] {
            let container = Container::add_with(&network, &pooled.name(), |pod| pod.args(args))?;
            ensure!(cookie(&container)? != left, "{args:?} has what another left");
            container.remove()?;
        }
        Ok(())
    })
}
