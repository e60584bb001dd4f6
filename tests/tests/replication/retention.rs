//! How long slots wait, for whom, and how many of them: what the agent does by the network's policy.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Agent, Container, Pooled,
    cli::{self, Slot},
    plugin::{Attachment, Network},
    pooled::{SOON, TENANT, user},
    wait, with_pool,
};
use serde_json::{Value, json};

/// Calls `test` on a node with this pool, in which nothing is ready that nobody had, and an agent.
fn with_agent(
    pool: &Value,
    test: impl FnOnce(&Pooled<'_>, &Agent) -> Result<()> + Send,
) -> Result<()> {
    let mut whole = json!({ "warm": 0, "maxSlots": 16 });
    let keys = pool.as_object().context("no pool")?;
    keys.iter().for_each(|(key, value)| whole[key] = value.clone());
    with_pool(&whole, |pooled| {
        let agent = pooled.agent()?;
        test(pooled, &agent)?;
        agent.stop()
    })
}

/// Starts and stops instances of functions, one after the other, and gives their slots in the order
/// in which they began to wait.
fn park_in_order(pooled: &Pooled<'_>, whose: &[(&str, &str)]) -> Result<Vec<String>> {
    let add = |(tenant, function): &(&str, &str)| pooled.add_tenants(tenant, function);
    // All are there at a time, so that each has a slot of its own.
    let instances: Vec<Container<'_>> = whose.iter().map(add).collect::<Result<_>>()?;
    let mut slots = Vec::new();
    for instance in instances {
        let slot = pooled.slot_of(&instance)?.slot;
        instance.remove()?;
        // It may be deleted as soon as it waits.
        pooled.wait_for_slot(&slot, &["parked", "gone"])?;
        slots.push(slot);
    }
    Ok(slots)
}

/// Waits until exactly these wait for their function, and sees that it stays so.
fn only_wait(pooled: &Pooled<'_>, expected: &[String]) -> Result<()> {
    let parked = || -> Result<Vec<String>> {
        let waits = |slot: &Slot| slot.state == "parked";
        let mut found: Vec<_> =
            pooled.slots()?.into_iter().filter(waits).map(|slot| slot.slot).collect();
        found.sort();
        Ok(found)
    };
    let mut expected = expected.to_vec();
    expected.sort();
    wait::until(SOON, "the right ones are left", || {
        let found = parked()?;
        ensure!(found == expected, "{found:?} wait, not {expected:?}");
        Ok(())
    })?;
    // The agent looks five times a second.
    stays(Duration::from_secs(1), "the right ones are left", || {
        let found = parked()?;
        ensure!(found == expected, "{found:?} wait, not {expected:?}");
        Ok(())
    })
}

/// Fails if something does not hold all the time.
fn stays(time: Duration, what: &str, mut holds: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + time;
    wait::until(time + SOON, what, || {
        let held = holds();
        let over = Instant::now() >= end;
        match held {
            Ok(()) if !over => anyhow::bail!("it is not over"),
            held => Ok(held),
        }
    })?
}

#[test]
fn no_more_wait_for_a_function_than_may() -> Result<()> {
    with_agent(&json!({ "maxParkedPerFunction": 2, "scope": "tenant" }), |pooled, _| {
        let resize = ("a", "resize");
        let whose = [resize, resize, ("a", "convert"), resize, resize, ("b", "resize")];
        let slots = park_in_order(pooled, &whose)?;
        println!("{slots:?}");
        // The two that came back last, and those of others.
        let kept = [2, 3, 4, 5].map(|number| slots[number].clone());
        only_wait(pooled, &kept)
    })
}

#[test]
fn no_more_wait_for_a_tenant_than_may() -> Result<()> {
    with_agent(&json!({ "maxParkedPerTenant": 2, "scope": "tenant" }), |pooled, _| {
        let whose = [("a", "f"), ("b", "f"), ("a", "g"), ("a", "h"), ("ab", "f"), ("a", "f")];
        let slots = park_in_order(pooled, &whose)?;
        println!("{slots:?}");
        let kept = [1, 3, 4, 5].map(|number| slots[number].clone());
        only_wait(pooled, &kept)
    })
}

/// Zero is a number, too.
#[test]
fn nothing_waits_where_nothing_may() -> Result<()> {
    with_agent(&json!({ "maxParkedPerFunction": 0, "scope": "tenant" }), |pooled, _| {
        park_in_order(pooled, &[("a", "f"), ("b", "f")])?;
        only_wait(pooled, &[])
    })
}

/// Parks a container that asks for this, and gives how long its slot waited at least and at most.
fn waited(
    pooled: &Pooled<'_>,
    ask: impl FnOnce(Attachment) -> Attachment,
) -> Result<(Duration, Duration)> {
    let container = pooled.add_with(ask)?;
    let slot = pooled.slot_of(&container)?.slot;
    let before = Instant::now();
    container.remove()?;
    pooled.wait_for_slot(&slot, &["parked"])?;
    let parked = Instant::now();
    pooled.wait_for_slot(&slot, &["gone"])?;
    Ok((parked.elapsed(), before.elapsed()))
}

#[test]
fn a_slot_waits_as_long_as_the_network_says() -> Result<()> {
    let ttl = Duration::from_secs(2);
    with_agent(&json!({ "idleTTL": "2s", "scope": "tenant" }), |pooled, _| {
        let (least, most) = waited(pooled, |own| own.args(&user(TENANT, "resize")))?;
        println!("it waited between {least:?} and {most:?}");
        ensure!(most >= ttl, "it waited {most:?} at most, not {ttl:?}");
        Ok(())
    })
}

/// The pod's own time counts, for its own slot.
#[test]
fn a_slot_waits_no_longer_than_its_pod_says() -> Result<()> {
    let ttl = Duration::from_secs(2);
    with_agent(&json!({ "idleTTL": "10m", "scope": "function" }), |pooled, _| {
        let patient = pooled.add_function("patient")?;
        let slot = pooled.slot_of(&patient)?.slot;
        patient.remove()?;
        let hasty = format!("{};repoint.dev/idle-ttl=2s", user(TENANT, "hasty"));
        let (least, most) = waited(pooled, |own| own.args(&hasty))?;
        println!("it waited between {least:?} and {most:?}");
        ensure!(most >= ttl, "it waited {most:?} at most, not {ttl:?}");
        only_wait(pooled, &[slot])
    })
}

/// What its last user asked for counts, and not what an earlier one did.
#[test]
fn a_slot_forgets_how_long_an_earlier_pod_wanted_it_to_wait() -> Result<()> {
    with_agent(&json!({ "idleTTL": "forever", "scope": "tenant" }), |pooled, _| {
        let ask = |ttl: &str| format!("{};repoint.dev/idle-ttl={ttl}", user(TENANT, "resize"));
        let hasty = pooled.add_with(|own| own.args(&ask("1h")))?;
        let slot = pooled.slot_of(&hasty)?.slot;
        hasty.remove()?;
        pooled.wait_for_slot(&slot, &["parked"])?;
        let (_, most) = waited(pooled, |own| own.args(&ask("2s")))?;
        ensure!(most >= Duration::from_secs(2), "{most:?}");
        let plain = pooled.add_function("resize")?;
        let slot = pooled.slot_of(&plain)?.slot;
        plain.remove()?;
        only_wait(pooled, &[slot])
    })
}

/// Where there is no room, the slot that has waited longest makes it.
#[test]
fn the_slot_that_has_waited_longest_makes_room() -> Result<()> {
    with_agent(&json!({ "maxSlots": 3, "scope": "function" }), |pooled, _| {
        let slots = park_in_order(pooled, &[("a", "f"), ("a", "g"), ("a", "h")])?;
        // What was used again has not waited long.
        let again = pooled.add_tenants("a", "f")?;
        ensure!(pooled.slot_of(&again)?.slot == slots[0], "not its own");
        again.remove()?;
        pooled.wait_for_slot(&slots[0], &["parked"])?;
        let new = pooled.add_tenants("a", "new")?;
        let found = pooled.slot_of(&new)?;
        ensure!(!slots.contains(&found.slot) && found.served() == "replicated", "{found:?}");
        pooled.wait_for_slot(&slots[1], &["gone"])?;
        only_wait(pooled, &[slots[0].clone(), slots[2].clone()])?;
        new.remove()
    })
}

/// The room that a function waits for is made by its own slot coming back, and not by deleting it.
#[test]
fn a_function_that_comes_again_at_once_gets_its_own_back() -> Result<()> {
    with_agent(&json!({ "maxSlots": 1 }), |pooled, _| {
        let first = pooled.add_function("resize")?;
        let slot = pooled.slot_of(&first)?;
        first.remove()?;
        for round in 0..40 {
            let again = pooled.add_function("resize")?;
            let found = pooled.slot_of(&again)?;
            ensure!(found.character() == slot.character(), "{round}: {found:?} is not {slot:?}");
            again.remove()?;
        }
        pooled.ensure_adds(&[("built", 1), ("reused", 40)])
    })
}

/// The same for the agent, which makes room for ready ones.
#[test]
fn the_slot_that_has_waited_longest_makes_room_for_ready_ones() -> Result<()> {
    let pool = json!({ "warm": 2, "maxSlots": 4, "scope": "tenant" });
    with_agent(&pool, |pooled, _| {
        let slots = park_in_order(pooled, &[("a", "f"), ("a", "g"), ("a", "h")])?;
        let pool = pooled.wait_until("two are ready", |pool| pool.warm >= 2 && pool.total <= 4)?;
        println!("{slots:?}: {pool:?}");
        // Three starts at once make the agent keep a third one ready for a while.
        ensure!(pool.parked > 0 && pool.parked < 3, "{pool:?}");
        only_wait(pooled, &slots[slots.len() - pool.parked as usize..])
    })
}

/// Name of a network of few addresses.
const SMALL: &str = "small";
const COOLDOWN: Duration = Duration::from_secs(4);

/// A network beside the pool's, with some addresses of one family alone.
fn small(pooled: &Pooled<'_>, first: &str, last: &str) -> Result<Network> {
    pooled.network_with(|configuration| {
        configuration["name"] = json!(SMALL);
        configuration["ipam"]["ranges"] =
            json!([[{ "subnet": "10.217.8.0/24", "rangeStart": first, "rangeEnd": last }]]);
    })
}

/// ADDs a container of a tenant's function to a network.
fn add_to<'a>(
    pooled: &Pooled<'_>,
    network: &'a Network,
    tenant: &str,
    function: &str,
) -> Result<Container<'a>> {
    let name = pooled.name();
    Container::add_with(network, &name, |own| own.args(&user(tenant, function)))
}

/// An address does not go to another trust domain before it has rested; within its own it does at once.
#[test]
fn an_address_rests_before_another_domain_gets_it() -> Result<()> {
    with_agent(&json!({ "cooldown": "4s" }), |pooled, _| {
        let network = small(pooled, "10.217.8.10", "10.217.8.10")?;
        let add = |function: &str| add_to(pooled, &network, TENANT, function);
        let first = add("resize")?;
        let (slot, cookie) = (pooled.slot_of(&first)?, first.netns().cookie()?);
        first.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        let own = add("resize")?;
        ensure!(pooled.slot_of(&own)?.character() == slot.character(), "not {slot:?}");
        let ended = Instant::now();
        own.remove()?;
        let refusal = add("convert").err().context("another domain has it at once")?;
        println!("{refusal:#}");
        let other =
            wait::until(COOLDOWN + SOON, "another domain gets the address", || add("convert"))?;
        let (rested, given) = (ended.elapsed(), pooled.slot_of(&other)?);
        println!("another domain got it {rested:?} after: {given:?}");
        ensure!(rested >= COOLDOWN, "another domain got it {rested:?} after");
        ensure!(given.addresses == slot.addresses && given.slot != slot.slot, "{given:?}");
        ensure!(other.netns().cookie()? != cookie, "it got the namespace as well");
        other.check()?;
        other.remove()
    })
}

/// Functions that are of one domain have each other's address at once, with its slot.
#[test]
fn an_address_does_not_rest_within_its_domain() -> Result<()> {
    with_agent(&json!({ "cooldown": "10m", "scope": "tenant" }), |pooled, _| {
        let network = small(pooled, "10.217.8.10", "10.217.8.10")?;
        let mut slots = Vec::new();
        for function in ["resize", "convert", "resize", "encode"] {
            let container = add_to(pooled, &network, TENANT, function)?;
            slots.push(pooled.slot_of(&container)?);
            container.remove()?;
        }
        let same = slots.iter().all(|slot| slot.character() == slots[0].character());
        ensure!(same, "they had {slots:?}");
        let refusal = add_to(pooled, &network, "other", "resize").err();
        println!("{:#}", refusal.context("another tenant has the address at once")?);
        Ok(())
    })
}

/// Where the configuration says nothing, an address rests as long as others are left, and no longer.
#[test]
fn an_address_need_not_rest_where_no_other_is_left() -> Result<()> {
    with_agent(&json!({}), |pooled, _| {
        let network = small(pooled, "10.217.8.10", "10.217.8.12")?;
        let addresses = |container: &Container<'_>| container.addresses();
        let mut given = Vec::new();
        for function in ["f", "g", "h"] {
            let container = Container::add(&network, function)?;
            given.push(addresses(&container)?);
            container.remove()?;
        }
        let different: BTreeSet<_> = given.iter().collect();
        ensure!(different.len() == 3, "one was given again though others were left: {given:?}");
        let yielded = || -> Result<u64> { Ok(cli::pool(pooled.node(), SMALL)?.cooldown_yielded) };
        ensure!(yielded()? == 0, "{} addresses did not rest", yielded()?);
        // All three rest now: the one that has rested longest is given, and that is counted.
        let again = Container::add(&network, "again")?;
        ensure!(addresses(&again)? == given[0], "{:?}, not {:?}", addresses(&again)?, given[0]);
        ensure!(yielded()? == 1, "{} addresses did not rest", yielded()?);
        again.check()?;
        again.remove()
    })
}

/// Its slot being gone makes no difference to an address.
#[test]
fn an_address_rests_though_its_slot_is_gone() -> Result<()> {
    with_agent(&json!({ "cooldown": "4s" }), |pooled, _| {
        let network = small(pooled, "10.217.8.10", "10.217.8.11")?;
        let add = |function: &str| add_to(pooled, &network, TENANT, function);
        let first = add("resize")?;
        let given = first.addresses()?;
        let ended = Instant::now();
        first.remove()?;
        wait::until(SOON, "the slot is parked", || {
            let slots = pooled.slots()?;
            ensure!(slots.iter().all(|slot| slot.state == "parked"), "{slots:?}");
            Ok(())
        })?;
        pooled.repoint(&["pool", "drain", SMALL])?;
        ensure!(pooled.slots()?.is_empty(), "{:?}", pooled.slots()?);
        let others = add("convert")?;
        ensure!(others.addresses()? != given, "another function has {given:?} at once");
        // The only other address is taken: what gets this one has waited.
        let got = wait::until(COOLDOWN + SOON, "the address can be had", || add("late"))?;
        let rested = ended.elapsed();
        println!("{:?} was given again {rested:?} after", got.addresses()?);
        ensure!(got.addresses()? == given, "{:?}", got.addresses()?);
        ensure!(rested >= COOLDOWN, "it was given again after {rested:?}");
        got.remove()?;
        others.remove()
    })
}
