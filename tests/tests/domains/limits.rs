//! Key `pool.maxSlotsPerTenant`: slots in use, slots that wait, and namespaces that live on without a
//! slot count.

use std::{fs::File, time::Duration};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Agent, Pooled, plugin::Attachment, pooled::user, wait, with_pool};
use serde_json::{Value, json};

use crate::{TENANT_FULL, charged, cookie, ensure_says};

/// How long an ADD may take that deletes a slot of its tenant's own: less than it would wait for
/// slots that come back.
const AT_ONCE: Duration = Duration::from_millis(2500);

fn limited(limit: u32) -> Value {
    json!({ "warm": 4, "maxSlots": 16, "maxSlotsPerTenant": limit })
}

fn ask(tenant: &str, function: &str) -> impl FnOnce(Attachment) -> Attachment {
    let args = user(tenant, function);
    move |own| own.args(&args)
}

fn ensure_charged(pooled: &Pooled<'_>, tenant: &str, expected: (u32, u32)) -> Result<()> {
    let found = charged(pooled, tenant)?;
    ensure!(found == expected, "{tenant} is charged {found:?}, not {expected:?}");
    Ok(())
}

#[test]
fn a_tenant_gets_no_more_slots_than_it_may() -> Result<()> {
    for has_agent in [true, false] {
        with_pool(&limited(2), |pooled| {
            let agent =
                if has_agent { Some(pooled.agent()?) } else { pooled.fill().map(|()| None)? };
            let containers = [pooled.add_tenants("a", "f")?, pooled.add_tenants("a", "g")?];
            ensure_charged(pooled, "a", (2, 0))?;
            if has_agent {
                pooled.wait_until("the pool is full again", |pool| pool.warm >= pool.target)?;
            }
            let said = ["tenant a has 2 slots", "functions", "pool.maxSlotsPerTenant"];
            ensure_says(&pooled.refused("ADD", ask("a", "h"))?, TENANT_FULL, &said)?;
            // Whichever way it is served.
            let own = |attachment: Attachment| {
                attachment.args(&format!("{};repoint.dev/mode=none", user("a", "h")))
            };
            ensure_says(&pooled.refused("ADD", own)?, TENANT_FULL, &said)?;
            // Others are not concerned, and neither are containers without a tenant.
            let others = [pooled.add_tenants("b", "f")?, pooled.add()?, pooled.add()?];
            for container in containers.iter().chain(&others) {
                container.check()?;
            }
            for container in containers.into_iter().chain(others) {
                container.remove()?;
            }
            agent.map_or(Ok(()), Agent::stop)
        })?;
    }
    Ok(())
}

/// What waits for another of the tenant's functions makes room at once, though slots are ready.
#[test]
fn a_tenants_own_waiting_slot_makes_room() -> Result<()> {
    for warm in [0, 4] {
        let pool = json!({ "warm": warm, "maxSlots": 16, "maxSlotsPerTenant": 2 });
        with_pool(&pool, |pooled| {
            pooled.fill()?;
            let (first, second) = (pooled.add_tenants("a", "f")?, pooled.add_tenants("a", "g")?);
            let (slot, old) = (pooled.slot_of(&second)?.slot, cookie(&second)?);
            second.remove()?;
            pooled.wait_for_slot(&slot, &["parked"])?;
            ensure_charged(pooled, "a", (2, 0))?;
            let third = pooled.add_tenants("a", "h")?;
            println!("{warm} slots ready: ADD took {:?}", third.added_in());
            ensure!(pooled.slot(&slot)?.is_none(), "{slot} waits still");
            ensure!(cookie(&third)? != old, "it has the other function's namespace");
            ensure!(third.added_in() < AT_ONCE, "ADD took {:?}", third.added_in());
            third.check()?;
            third.remove()?;
            first.remove()
        })?;
    }
    Ok(())
}

/// Where the network's containers share a domain, a tenant that takes another's slot is charged.
#[test]
fn a_slot_of_another_tenant_counts_for_the_one_that_has_it() -> Result<()> {
    let pool = json!({ "warm": 0, "maxSlots": 16, "maxSlotsPerTenant": 1, "scope": "network" });
    with_pool(&pool, |pooled| {
        let lender = pooled.add_tenants("a", "f")?;
        let slot = pooled.slot_of(&lender)?.slot;
        lender.remove()?;
        pooled.wait_for_slot(&slot, &["parked"])?;
        let own = pooled.add_tenants("b", "g")?;
        ensure!(pooled.slot_of(&own)?.slot == slot, "it got another one");
        ensure_charged(pooled, "a", (0, 0))?;
        ensure_charged(pooled, "b", (1, 0))?;
        // Another one waits, of a tenant that may have it.
        let lender = pooled.add_tenants("a", "f")?;
        let slot = pooled.slot_of(&lender)?.slot;
        lender.remove()?;
        pooled.wait_for_slot(&slot, &["parked"])?;
        let error = pooled.refused("ADD", ask("b", "h"))?;
        ensure_says(&error, TENANT_FULL, &["tenant b has 1 slots"])?;
        own.remove()
    })
}

/// A process keeps a descriptor of a namespace whose slot is deleted: the namespace counts until it is
/// closed.
#[test]
fn a_namespace_that_a_process_holds_counts_until_it_is_closed() -> Result<()> {
    for has_agent in [true, false] {
        with_pool(&limited(1), |pooled| {
            let agent =
                if has_agent { Some(pooled.agent()?) } else { pooled.fill().map(|()| None)? };
            // The tenant's containers without a function share nothing: their slots are deleted.
            let tenants = |own: Attachment| own.args("repoint.dev/tenant=a");
            let first = pooled.add_with(tenants)?;
            let slot = pooled.slot_of(&first)?.slot;
            let held = File::open(first.netns().path()).context("open the namespace")?;
            first.remove()?;
            pooled.wait_for_slot(&slot, &["gone"])?;
            ensure_charged(pooled, "a", (1, 1))?;
            if has_agent {
                pooled.wait_until("the pool is full again", |pool| pool.warm >= pool.target)?;
            }
            let error = pooled.refused("ADD", tenants)?;
            ensure_says(&error, TENANT_FULL, &["1 of them are namespaces that live on"])?;
            ensure_charged(pooled, "a", (1, 1))?;
            drop(held);
            let next = wait::until(Duration::from_secs(10), "the tenant has room again", || {
                pooled.add_with(tenants)
            })?;
            ensure_charged(pooled, "a", (1, 0))?;
            next.check()?;
            next.remove()?;
            agent.map_or(Ok(()), Agent::stop)
        })?;
    }
    Ok(())
}

/// Whose namespaces are gone is charged nothing.
#[test]
fn a_tenant_whose_namespaces_are_gone_is_forgotten() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 16 }), |pooled| {
        let agent = pooled.agent()?;
        for _ in 0..3 {
            pooled.add_with(|own| own.args("repoint.dev/tenant=a"))?.remove()?;
        }
        wait::until(repoint_tests::pooled::SOON, "the tenant is forgotten", || {
            ensure_charged(pooled, "a", (0, 0))
        })?;
        agent.stop()
    })
}
