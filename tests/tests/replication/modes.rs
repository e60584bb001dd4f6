//! How a container is served, by what its annotations say; what they must not say; and how all of
//! that is reported.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Agent, Container, Netns, Pooled,
    plugin::Attachment,
    pooled::{ANNOTATIONS, SOON},
    traffic::{self, Host},
    wait, with_pool,
};
use serde_json::{Value, json};

use crate::{INVALID_CONFIGURATION, INVALID_ENVIRONMENT, ensure_says, talk};

fn bare() -> Value {
    json!({ "warm": 0, "maxSlots": 16 })
}

fn annotated(mode: &str, function: &str) -> Value {
    json!({ "repoint.dev/mode": mode, "repoint.dev/function": function })
}

#[test]
fn reuse_gives_a_function_its_own_back() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let first = pooled.add_annotated(&annotated("reuse", "resize"))?;
        let slot = pooled.slot_of(&first)?;
        ensure!(slot.served() == "replicated" && slot.mode == "reuse", "{slot:?}");
        first.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        let again = pooled.add_annotated(&annotated("reuse", "resize"))?;
        let found = pooled.slot_of(&again)?;
        println!("{:?}", found.decision);
        ensure!(found.character() == slot.character(), "{found:?} is not {slot:?}");
        ensure!(found.served() == "reused", "{found:?}");
        again.remove()
    })
}

/// Though a slot waits for the function, and one for its tenant; and nothing waits afterwards.
#[test]
fn replicate_gives_a_new_instance_and_keeps_none_for_the_function() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 16, "scope": "tenant" }), |pooled| {
        let waits = pooled.add_annotated(&annotated("reuse", "resize"))?;
        let used = pooled.add_annotated(&json!({}))?;
        let old = [pooled.slot_of(&waits)?.slot, pooled.slot_of(&used)?.slot];
        waits.remove()?;
        used.remove()?;
        pooled.wait_for_slot(&old[0], &["parked"])?;
        pooled.wait_for_slot(&old[1], &["parked"])?;
        for round in 0..3 {
            let new = pooled.add_annotated(&annotated("replicate", "resize"))?;
            let slot = pooled.slot_of(&new)?;
            println!("{round}: {:?}", slot.decision);
            ensure!(!old.contains(&slot.slot), "{slot:?} is not new");
            ensure!(slot.served() == "replicated" && slot.mode == "replicate", "{slot:?}");
            new.check()?;
            new.remove()?;
            pooled.wait_for_slot(&slot.slot, &["gone"])?;
        }
        let mut left: Vec<_> = pooled.slots()?.into_iter().map(|slot| slot.slot).collect();
        left.sort();
        ensure!(left == old, "{left:?} are left, not {old:?}");
        Ok(())
    })
}

#[test]
fn none_gives_an_interface_in_the_containers_own_namespace() -> Result<()> {
    with_pool(&bare(), |pooled| {
        pooled.operate("PREPARE", "")?.success()?;
        let own = pooled.add_annotated(&annotated("none", "resize"))?;
        let slot = pooled.slot_of(&own)?;
        println!("{:?}", slot.decision);
        let decision = slot.decision.as_ref().context("no decision")?;
        ensure!(decision.served == "none" && decision.reason == "mode none", "{slot:?}");
        ensure!(pooled.pool()?.warm == 1, "{:?}", pooled.pool()?);
        let pooled_one = pooled.add()?;
        talk(pooled, &own, &pooled_one)?;
        own.check()?;
        pooled_one.remove()?;
        own.remove()?;
        ensure!(pooled.slot(&slot.slot)?.is_none(), "a slot is kept");
        pooled.ensure_adds(&[("mode_none", 1), ("warm", 1)])
    })
}

/// Keys and values of annotations that must not be, and what the error must name.
fn wrong() -> Vec<(Value, Vec<&'static str>)> {
    let mode = vec!["repoint.dev/mode", "recycle", "\"reuse\", \"replicate\" or \"none\""];
    let scope = vec!["repoint.dev/scope", "world", "\"function\", \"tenant\" or \"network\""];
    let known = "repoint.dev/mode, function, tenant, template, idle-ttl, scope or labels";
    vec![
        (json!({ "repoint.dev/mode": "recycle" }), mode),
        (json!({ "repoint.dev/mode": "Reuse" }), vec!["repoint.dev/mode", "Reuse"]),
        (json!({ "repoint.dev/mode": 1 }), vec!["repoint.dev/mode"]),
        (json!({ "repoint.dev/scope": "world" }), scope),
        (json!({ "repoint.dev/idle-ttl": "10" }), vec!["repoint.dev/idle-ttl", "10", "\"10m\""]),
        (
            json!({ "repoint.dev/function": "x".repeat(254) }),
            vec!["repoint.dev/function", "1 to 253 bytes"],
        ),
        (json!({ "repoint.dev/template": "../x" }), vec!["repoint.dev/template", "../x"]),
        (json!({ "repoint.dev/modes": "reuse" }), vec!["repoint.dev/modes", known]),
        (json!({ "repoint.dev/count": "3" }), vec!["repoint.dev/count", known]),
        (json!({ "repoint.dev/": "x" }), vec!["repoint.dev/", known]),
    ]
}

#[test]
fn a_wrong_annotation_is_named_and_nothing_is_left() -> Result<()> {
    with_pool(&bare(), |pooled| {
        pooled.operate("PREPARE", "")?.success()?;
        for (annotations, parts) in wrong() {
            let error =
                pooled.refused("ADD", |pod| pod.capability(ANNOTATIONS, annotations.clone()))?;
            ensure_says(&error, INVALID_CONFIGURATION, &parts)
                .with_context(|| annotations.to_string())?;
        }
        // What is not ours is nobody's business.
        let others = json!({ "example.org/mode": "recycle", "repoint.development/mode": "x" });
        pooled.add_annotated(&others)?.remove()
    })
}

#[test]
fn a_wrong_argument_is_named_and_nothing_is_left() -> Result<()> {
    with_pool(&bare(), |pooled| {
        for (args, part) in [
            ("repoint.dev/mode=recycle", "\"reuse\", \"replicate\" or \"none\""),
            ("repoint.dev/scope=world", "\"function\", \"tenant\" or \"network\""),
            ("repoint.dev/idle-ttl=soon", "repoint.dev/idle-ttl"),
            ("repoint.dev/tenants=a", "repoint.dev/tenants"),
        ] {
            let error = pooled.refused("ADD", |own| own.args(args))?;
            ensure_says(&error, INVALID_ENVIRONMENT, &["CNI_ARGS", part])?;
        }
        let unknown = "IgnoreUnknown=1;repoint.dev/tenants=a";
        pooled.add_with(|own| own.args(unknown))?.remove()?;
        // A known one with a wrong value is no unknown one.
        let wrong = "IgnoreUnknown=1;repoint.dev/mode=recycle";
        let error = pooled.refused("ADD", |own| own.args(wrong))?;
        ensure_says(&error, INVALID_ENVIRONMENT, &["repoint.dev/mode"])
    })
}

/// A pod may narrow what the network allows, and not widen it.
#[test]
fn nobody_gets_more_than_the_network_allows() -> Result<()> {
    let pool = json!({ "warm": 0, "maxSlots": 16, "scope": "tenant", "idleTTL": "10m" });
    with_pool(&pool, |pooled| {
        let asks = |key: &str, value: &str| json!({ key: value });
        for (key, value, limit) in [
            ("repoint.dev/scope", "network", "scope tenant"),
            ("repoint.dev/idle-ttl", "1h", "idleTTL 10m"),
        ] {
            let pod = |own: Attachment| own.capability(ANNOTATIONS, asks(key, value));
            let said = [key, value, limit, "functions", "key pool"];
            ensure_says(&pooled.refused("ADD", pod)?, INVALID_CONFIGURATION, &said)?;
            // The node's own word does not count for more.
            let args = format!("{key}={value}");
            let error = pooled.refused("ADD", |own| own.args(&args))?;
            ensure_says(&error, INVALID_CONFIGURATION, &said)?;
        }
        for (key, value) in [
            ("repoint.dev/scope", "tenant"),
            ("repoint.dev/scope", "function"),
            ("repoint.dev/idle-ttl", "10m"),
            ("repoint.dev/idle-ttl", "1s"),
        ] {
            let container = pooled.add_annotated(&asks(key, value))?;
            println!("{key}={value}: {:?}", pooled.slot_of(&container)?);
            container.remove()?;
        }
        Ok(())
    })
}

/// A pod that names another tenant than its namespace is refused; one that says what is so anyway is
/// not; and one is allowed to where the network's configuration says so.
#[test]
fn a_pod_cannot_be_another_tenants() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let pod = |own: Attachment, tenant: &str| {
            own.args(&pod("p")).capability(ANNOTATIONS, json!({ "repoint.dev/tenant": tenant }))
        };
        for tenant in ["b", "A", "a ", "aa"] {
            let error = pooled.refused("ADD", |own| pod(own, tenant))?;
            let said = ["repoint.dev/tenant", tenant, "not allowed", "pool.annotations"];
            ensure_says(&error, INVALID_CONFIGURATION, &said)?;
        }
        // Nor can one that has no namespace be anybody's.
        let nobodys = json!({ "repoint.dev/tenant": "a" });
        let error = pooled.refused("ADD", |own| own.capability(ANNOTATIONS, nobodys))?;
        ensure_says(&error, INVALID_CONFIGURATION, &["repoint.dev/tenant", "not allowed"])?;
        let own = pooled.add_with(|own| pod(own, "a"))?;
        ensure!(pooled.slot_of(&own)?.tenant.as_deref() == Some("a"));
        own.remove()?;
        let network = pooled.network_with(|configuration| {
            configuration["pool"]["annotations"] = json!(["repoint.dev/tenant"]);
        })?;
        let other = Container::add_with(&network, "other", |own| pod(own, "b"))?;
        ensure!(pooled.slot_of(&other)?.tenant.as_deref() == Some("b"));
        other.remove()
    })
}

/// What the network does not list, no pod may ask for.
#[test]
fn a_network_says_which_annotations_a_pod_may_have() -> Result<()> {
    let pool = json!({ "warm": 0, "maxSlots": 16, "annotations": ["repoint.dev/function"] });
    with_pool(&pool, |pooled| {
        for (key, value) in [("repoint.dev/mode", "none"), ("repoint.dev/scope", "function")] {
            let pod = |own: Attachment| own.capability(ANNOTATIONS, json!({ key: value }));
            let said = [key, value, "not allowed", "pool.annotations"];
            ensure_says(&pooled.refused("ADD", pod)?, INVALID_CONFIGURATION, &said)?;
        }
        let pod = pooled.add_annotated(&json!({ "repoint.dev/function": "resize" }))?;
        ensure!(pooled.slot_of(&pod)?.function.as_deref() == Some("resize"));
        pod.remove()
    })
}

/// Without a pool a mode that needs one is an error, and `none` is what there is anyway.
#[test]
fn modes_in_a_network_without_a_pool() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let network = pooled.network_with(|configuration| {
            configuration["name"] = json!("plain");
            if let Some(keys) = configuration.as_object_mut() {
                keys.remove("pool");
            }
        })?;
        for mode in ["reuse", "replicate"] {
            let netns = Netns::create("plain")?;
            let attachment = Attachment::new("plain", netns.path());
            let attachment = attachment.capability(ANNOTATIONS, annotated(mode, "f"));
            let error = network.call_single("ADD", &attachment, None)?.error()?;
            println!("{error:?}");
            let said = ["repoint.dev/mode", mode, "plain", "no pool", "`pool`"];
            ensure_says(&error, INVALID_CONFIGURATION, &said)?;
            netns.remove()?;
        }
        let none = |pod: Attachment| pod.capability(ANNOTATIONS, annotated("none", "f"));
        let container = Container::add_with(&network, "none", none)?;
        let given = container.addresses()?;
        traffic::all(&Host::here("node")?, &container.host()?, &given)?;
        container.remove()
    })
}

/// `CNI_ARGS` of a pod, as containerd passes them.
fn pod(name: &str) -> String {
    format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME={name}")
}

#[test]
fn the_networks_mode_counts_where_nobody_asks_for_one() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 16, "mode": "replicate" }), |pooled| {
        let plain = pooled.add_function("resize")?;
        let slot = pooled.slot_of(&plain)?;
        ensure!(slot.mode == "replicate" && slot.served() == "replicated", "{slot:?}");
        plain.remove()?;
        pooled.wait_for_slot(&slot.slot, &["gone"])?;
        let reused = pooled.add_annotated(&annotated("reuse", "resize"))?;
        let slot = pooled.slot_of(&reused)?;
        reused.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"]).map(drop)
    })
}

/// Where the network says so: without what was generated, and only where no function is named.
#[test]
fn a_pods_name_is_its_function() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 16, "functionFrom": "podName" }), |pooled| {
        let add = |name: &str| pooled.add_with(|own| own.args(&pod(name)));
        let first = add("resize-5d59d67564-bcd2f")?;
        let slot = pooled.slot_of(&first)?;
        ensure!(slot.function.as_deref() == Some("resize"), "{slot:?}");
        first.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        let second = add("resize-6799fc88d8-2wdz4")?;
        let again = pooled.slot_of(&second)?;
        ensure!(again.served() == "reused" && again.slot == slot.slot, "{again:?}");
        second.remove()?;
        let named = json!({ "repoint.dev/function": "convert" });
        let args = pod("resize-6799fc88d8-x7kzm");
        let named = pooled.add_with(|own| own.args(&args).capability(ANNOTATIONS, named))?;
        ensure!(pooled.slot_of(&named)?.function.as_deref() == Some("convert"));
        named.remove()
    })
}

/// Without the key a pod's name says nothing.
#[test]
fn a_pods_name_is_no_function_unless_the_network_says_so() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let args = pod("resize-5d59d67564-bcd2f");
        let container = pooled.add_with(|own| own.args(&args))?;
        let slot = pooled.slot_of(&container)?;
        ensure!(slot.function.is_none() && slot.tenant.as_deref() == Some("a"), "{slot:?}");
        container.remove()
    })
}

/// Every decision is in the agent's log, with whom it is about and why.
#[test]
fn the_agent_logs_every_decision() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 16 }), |pooled| {
        let agent = Agent::start_logging(pooled.node(), "debug,aya=info")?;
        pooled.wait_until("the pool is full", |pool| pool.warm == 1)?;
        let decisions = served_each_way(pooled)?;
        wait::until(SOON, "the decisions are logged", || {
            let log = agent.log()?;
            for (id, decision) in &decisions {
                let line = log.lines().find(|line| line.contains(&format!("/{id}/eth0: ")));
                let line = line.with_context(|| format!("nothing of {id} in\n{log}"))?;
                ensure!(line.contains(decision), "{line:?} does not name {decision:?}");
            }
            Ok(())
        })?;
        for (id, decision) in &decisions {
            println!("{id}: {decision}");
        }
        agent.stop()
    })
}

/// Containers, and the decision about each.
fn served_each_way(pooled: &Pooled<'_>) -> Result<Vec<(String, String)>> {
    let mut decisions = Vec::new();
    for (mode, served) in [
        ("reuse", "replicated"),
        ("reuse", "reused"),
        ("replicate", "replicated"),
        ("none", "none"),
    ] {
        let container = pooled.add_annotated(&annotated(mode, "resize"))?;
        let slot = pooled.slot_of(&container)?;
        let decision = slot.decision.as_ref().context("no decision")?;
        ensure!(decision.served == served, "{mode}: {slot:?}");
        let reported = format!("{} ({})", decision.served, decision.reason);
        decisions.push((container.attachment().container_id.clone(), reported));
        container.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked", "gone"])?;
    }
    Ok(decisions)
}
