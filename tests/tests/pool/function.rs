//! Whose slot a function gets: its own, or that of another user that the scope allows.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, dist, missing,
    traffic::{self, Host},
    with_pool,
};
use serde_json::json;

use crate::{character, eight};

/// The capability by which runtimes pass a pod's annotations.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

#[test]
fn a_function_gets_its_own_slot_back() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let agent = pooled.agent()?;
        let first = pooled.add_function("resize")?;
        let (slot, given, inode) =
            (pooled.slot_of(&first)?, first.addresses()?, first.netns().inode()?);
        first.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        // Others come and go meanwhile, and none gets it while there are warm ones.
        for function in ["convert", "encode", "convert"] {
            let other = pooled.add_function(function)?;
            let others = pooled.slot_of(&other)?;
            ensure!(others.slot != slot.slot, "{function} got the slot of resize");
            other.remove()?;
            pooled.wait_for_slot(&others.slot, &["parked"])?;
        }
        let again = pooled.add_function("resize")?;
        ensure!(character(&pooled.slot_of(&again)?) == character(&slot), "not {slot:?}");
        ensure!(again.addresses()? == given, "not {given:?}: {:?}", again.addresses()?);
        ensure!(again.netns().inode()? == inode, "another namespace is at the path");
        again.check()?;
        traffic::all(&Host::here("node")?, &again.host()?, &given)?;
        again.remove()?;
        pooled.ensure_adds(&[("reused", 2), ("warm", 3)])?;
        agent.stop()
    })
}

/// As containerd and CRI-O pass a pod's annotations on.
#[test]
fn annotations_of_a_pod_name_its_function() -> Result<()> {
    with_pool(&eight(), |pooled| {
        pooled.fill()?;
        let network = pooled.network_with(|configuration| {
            configuration["capabilities"][ANNOTATIONS] = json!(true);
            let allowed = json!(["repoint.dev/function", "repoint.dev/tenant"]);
            configuration["pool"]["annotations"] = allowed;
        })?;
        let annotated = |name: &str, tenant: &str| {
            let annotations =
                json!({ "repoint.dev/function": "resize", "repoint.dev/tenant": tenant, "x": "y" });
            Container::add_with(&network, name, |pod| pod.capability(ANNOTATIONS, annotations))
        };
        let first = annotated("first", "a")?;
        let slot = pooled.slot_of(&first)?;
        first.remove()?;
        let others = annotated("others", "b")?;
        ensure!(pooled.slot_of(&others)?.slot != slot.slot, "another tenant has it");
        others.remove()?;
        let again = annotated("again", "a")?;
        ensure!(character(&pooled.slot_of(&again)?) == character(&slot), "not {slot:?}");
        again.remove()?;
        // The same by CNI_ARGS, which count where there are no annotations.
        let again = pooled.add_tenants("a", "resize")?;
        ensure!(character(&pooled.slot_of(&again)?) == character(&slot), "not {slot:?}");
        again.remove()?;
        pooled.ensure_adds(&[("reused", 2), ("warm", 2)])
    })
}

/// Two instances of a function at a time have a slot each, and both come back.
#[test]
fn instances_of_a_function_do_not_share_a_slot() -> Result<()> {
    with_pool(&eight(), |pooled| {
        let agent = pooled.agent()?;
        let mut first = Vec::new();
        for _ in 0..3 {
            let instances = [pooled.add_function("resize")?, pooled.add_function("resize")?];
            let mut slots: Vec<String> = Vec::new();
            for instance in instances {
                slots.push(pooled.slot_of(&instance)?.slot);
                instance.remove()?;
            }
            for slot in &slots {
                pooled.wait_for_slot(slot, &["parked"])?;
            }
            slots.sort();
            if first.is_empty() {
                ensure!(slots[0] != slots[1], "both have {slots:?}");
                first.clone_from(&slots);
            }
            ensure!(slots == first, "{slots:?}, not {first:?}");
        }
        pooled.ensure_adds(&[("reused", 4), ("warm", 2)])?;
        agent.stop()
    })
}

/// What `scope` lets a second user have of the first's slot, when no other slot is ready.
fn second_gets_the_firsts(scope: &str, first: [&str; 2], second: [&str; 2]) -> Result<bool> {
    let mut same = false;
    let pool = json!({ "warm": 0, "maxSlots": 2, "scope": scope });
    with_pool(&pool, |pooled| {
        let agent = pooled.agent()?;
        let one = pooled.add_tenants(first[0], first[1])?;
        let slot = pooled.slot_of(&one)?.slot;
        one.remove()?;
        pooled.wait_for_slot(&slot, &["parked"])?;
        let two = pooled.add_tenants(second[0], second[1])?;
        same = pooled.slot_of(&two)?.slot == slot;
        two.remove()?;
        agent.stop()
    })?;
    Ok(same)
}

#[test]
fn scope_says_who_gets_whose_slot() -> Result<()> {
    if missing([dist::plugin(), dist::cli(), dist::agent()]) {
        return Ok(());
    }
    let (mine, my_other, others) = (["a", "resize"], ["a", "convert"], ["b", "resize"]);
    for (scope, second, allowed) in [
        ("function", mine, true),
        ("function", my_other, false),
        ("function", others, false),
        ("tenant", mine, true),
        ("tenant", my_other, true),
        ("tenant", others, false),
        ("network", mine, true),
        ("network", my_other, true),
        ("network", others, true),
    ] {
        let same = second_gets_the_firsts(scope, mine, second)?;
        println!("scope {scope}: {second:?} gets the slot of {mine:?}: {same}");
        ensure!(same == allowed, "scope {scope}: {second:?} gets the slot of {mine:?}: {same}");
    }
    Ok(())
}

/// Its own slot, one that a container without a function left, one that no container has had, one of
/// another function, a new one: in this order.
#[test]
fn a_function_gets_the_slot_that_is_nearest_to_it() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 8, "scope": "tenant" }), |pooled| {
        pooled.fill()?;
        let own = pooled.add_tenants("a", "own")?;
        let left = pooled.add_with(|attachment| attachment.args("repoint.dev/tenant=a"))?;
        let of = |container| Ok::<_, anyhow::Error>(pooled.slot_of(container)?.slot);
        let (owns, lefts) = (of(&own)?, of(&left)?);
        let slots = pooled.slots()?;
        let unused = slots.iter().find(|slot| slot.state == "warm");
        let unused = unused.with_context(|| format!("none is warm: {slots:?}"))?;
        own.remove()?;
        left.remove()?;
        let known = [&owns, &lefts, &unused.slot];
        let mut running = Vec::new();
        for (function, expected, served, why) in [
            ("own", Some(&owns), "reused", "function own had it before"),
            ("f", Some(&lefts), "reused", "another of its trust domain had it before"),
            ("g", Some(&unused.slot), "replicated", "a ready instance"),
            ("h", None, "replicated", "one was built"),
        ] {
            let container = pooled.add_tenants("a", function)?;
            let slot = pooled.slot_of(&container)?;
            println!("{function}: {:?}", slot.decision);
            let is_expected =
                expected.map_or(!known.contains(&&slot.slot), |expected| slot.slot == *expected);
            ensure!(is_expected && slot.served() == served, "{function} got {slot:?}");
            let reason = slot.decision.as_ref().map_or("", |decision| decision.reason.as_str());
            ensure!(reason.contains(why), "{function}: {reason}");
            running.push(container);
        }
        running.into_iter().try_for_each(Container::remove)?;
        // Nothing waits for this one, and nothing is unused.
        let last = pooled.add_tenants("a", "last")?;
        let slot = pooled.slot_of(&last)?;
        ensure!(slot.served() == "reused", "{slot:?}");
        let reason = slot.decision.context("no decision")?.reason;
        let expected = "no slot waits for function last: another of its trust domain had it before";
        ensure!(reason == expected, "{reason}");
        last.remove()?;
        pooled.ensure_adds(&[("built", 1), ("reused", 3), ("warm", 3)])
    })
}

/// Two tenants alternately, with functions of the same name, in a pool of few slots.
#[test]
fn tenants_never_share_a_slot() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 12, "scope": "tenant" }), |pooled| {
        let agent = pooled.agent()?;
        let mut had: [Vec<String>; 2] = Default::default();
        for round in 0..6 {
            for (number, tenant) in ["a", "b"].into_iter().enumerate() {
                let container = pooled.add_tenants(tenant, &format!("f{}", round % 3))?;
                had[number].push(pooled.slot_of(&container)?.slot);
                container.remove()?;
            }
        }
        let [mine, theirs] = &had;
        println!("a had {mine:?}, b had {theirs:?}");
        ensure!(!mine.iter().any(|slot| theirs.contains(slot)), "a had {mine:?}, b {theirs:?}");
        agent.stop()
    })
}
