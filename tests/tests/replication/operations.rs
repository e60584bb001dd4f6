//! PREPARE, ACTIVATE and PARK, as `docs/cni-extensions.md` specifies them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Netns, Pooled, Snapshot, cli,
    plugin::{Attachment, Call, Network},
    pooled::{TENANT, user},
    traffic::{self, Host},
    web, with_pool,
};
use serde_json::{Value, json};

use crate::{
    ALREADY_EXISTS, INVALID_CONFIGURATION, INVALID_ENVIRONMENT, NO_ADDRESS, NODE_FAILURE,
    NONE_PREPARED, POOL_FULL, ensure_says, talk,
};

/// What an attachment is asked for.
type Ask = fn(Attachment) -> Attachment;

/// A pool in which nothing is ready that was not asked for.
fn bare() -> Value {
    json!({ "warm": 0, "maxSlots": 4 })
}

/// The addresses of a CNI result, without their prefix lengths.
fn addresses(result: &Value) -> Result<Vec<std::net::IpAddr>> {
    let ips = result["ips"].as_array().with_context(|| format!("no ips: {result}"))?;
    let address = |ip: &Value| {
        let text = ip["address"].as_str().unwrap_or_default();
        text.split('/').next().unwrap_or_default().parse().with_context(|| text.to_owned())
    };
    ips.iter().map(address).collect()
}

#[test]
fn version_tells_the_operations() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let answer = pooled.operate("VERSION", "")?.json()?;
        println!("{answer}");
        let operations = json!(["PREPARE", "ACTIVATE", "PARK", "REPLICATE"]);
        ensure!(answer["repoint.dev/operations"] == operations, "{answer}");
        ensure!(answer["supportedVersions"].as_array().is_some_and(|all| all.len() == 7));
        Ok(())
    })
}

#[test]
fn what_is_prepared_for_anybody_is_what_add_gives() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let made = pooled.operate("PREPARE", "repoint.dev/count=2")?.json()?;
        println!("{made}");
        let slots = pooled.slots()?;
        ensure!(slots.len() == 2 && slots.iter().all(|slot| slot.state == "warm"), "{slots:?}");
        for slot in &slots {
            let reported = made["slots"].as_array().context("no slots")?.iter();
            let reported =
                reported.filter(|one| one["slot"] == slot.slot && one["mac"] == slot.mac);
            let reported: Vec<_> = reported.collect();
            ensure!(
                reported.len() == 1 && reported[0]["addresses"] == json!(slot.addresses),
                "{made}"
            );
            ensure!(reported[0]["template"] == json!(slot.template_digest), "{slot:?}");
        }
        let (one, two) = (pooled.add()?, pooled.add()?);
        pooled.ensure_adds(&[("warm", 2)])?;
        talk(pooled, &one, &two)?;
        let decision = pooled.slot_of(&one)?.decision.context("no decision")?;
        ensure!(decision.served == "replicated" && decision.reason == "a ready instance");
        one.check()?;
        one.remove()?;
        two.remove()
    })
}

/// Nobody else gets it, though there is nothing else.
#[test]
fn what_is_prepared_for_a_function_waits_for_it() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 4, "scope": "function" }), |pooled| {
        let whose = "repoint.dev/function=resize;repoint.dev/tenant=a";
        let made = pooled.operate("PREPARE", &format!("{whose};repoint.dev/count=2"))?.json()?;
        let slots = made["slots"].as_array().context("no slots")?;
        ensure!(slots.len() == 2 && slots.iter().all(|slot| slot["state"] == "parked"), "{made}");
        let prepared =
            |slot: &cli::Slot| slots.iter().any(|reported| reported["slot"] == slot.slot);
        for (tenant, function) in [("b", "resize"), ("a", "convert")] {
            let other = pooled.add_tenants(tenant, function)?;
            ensure!(!prepared(&pooled.slot_of(&other)?), "{tenant}'s {function} got it");
            other.remove()?;
        }
        let instances = [pooled.add_tenants("a", "resize")?, pooled.add_tenants("a", "resize")?];
        for instance in instances {
            let slot = pooled.slot_of(&instance)?;
            println!("{slot:?}");
            let decision = slot.decision.clone().context("no decision")?;
            ensure!(decision.reason == "it was prepared for function resize", "{decision:?}");
            ensure!(prepared(&slot), "{slot:?} is not of {made}");
            instance.check()?;
            instance.remove()?;
        }
        pooled.ensure_adds(&[("built", 2), ("reused", 2)])
    })
}

/// What PREPARE is asked for, and for whom, counts as with ADD.
#[test]
fn what_is_prepared_goes_no_further_than_was_said() -> Result<()> {
    let pool = json!({ "warm": 0, "maxSlots": 4, "idleTTL": "10m", "scope": "network" });
    with_pool(&pool, |pooled| {
        let whose = "repoint.dev/function=resize;repoint.dev/tenant=a";
        let asked = format!("{whose};repoint.dev/scope=function;repoint.dev/idle-ttl=2s");
        let made = pooled.operate("PREPARE", &asked)?.json()?;
        let own = made["slots"][0]["slot"].as_str().context("no slot")?.to_owned();
        for (tenant, function) in [("b", "resize"), ("a", "convert")] {
            let other = pooled.add_tenants(tenant, function)?;
            ensure!(pooled.slot_of(&other)?.slot != own, "{tenant}'s {function} got it");
            other.remove()?;
        }
        let agent = pooled.agent()?;
        pooled.wait_for_slot(&own, &["gone"])?;
        for wide in ["repoint.dev/idle-ttl=1h", "repoint.dev/template=nowhere"] {
            let error = pooled.operate("PREPARE", &format!("{whose};{wide}"))?.error()?;
            println!("{error:?}");
            ensure_says(&error, INVALID_CONFIGURATION, &[])?;
        }
        agent.stop()
    })
}

/// Nothing can wait for it: each of its containers has a trust domain of its own.
#[test]
fn nothing_is_prepared_for_a_function_without_a_tenant() -> Result<()> {
    let resize = "repoint.dev/function=resize";
    with_pool(&bare(), |pooled| {
        let error = pooled.operate("PREPARE", resize)?.error()?;
        println!("{error:?}");
        let said = ["functions", "resize", "without a tenant", "pool.shareWithoutTenant"];
        ensure_says(&error, INVALID_CONFIGURATION, &said)?;
        ensure!(pooled.slots()?.is_empty(), "some were made");
        Ok(())
    })?;
    let shared = json!({ "warm": 0, "maxSlots": 4, "shareWithoutTenant": true });
    with_pool(&shared, |pooled| {
        let made = pooled.operate("PREPARE", resize)?.json()?;
        let own = made["slots"][0]["slot"].as_str().context("no slot")?;
        for (args, gets) in [(user("a", "resize").as_str(), false), (resize, true)] {
            let container = pooled.add_with(|attachment| attachment.args(args))?;
            let slot = pooled.slot_of(&container)?;
            ensure!((slot.slot == own) == gets, "{args} got {slot:?}, and {own} was prepared");
            container.remove()?;
        }
        Ok(())
    })
}

#[test]
fn as_many_are_prepared_as_there_are_addresses_for() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 16 }), |pooled| {
        let network = pooled.network_with(|configuration| {
            configuration["name"] = json!("small");
            configuration["ipam"]["ranges"][0][0] = json!({
                "subnet": "10.217.8.0/24", "rangeStart": "10.217.8.10", "rangeEnd": "10.217.8.12",
            });
        })?;
        let prepare = || {
            let nobody = Attachment::new("", Path::new("")).args("repoint.dev/count=5");
            network.call_single("PREPARE", &nobody, None)
        };
        let made = prepare()?.json()?;
        ensure!(made["slots"].as_array().is_some_and(|slots| slots.len() == 3), "{made}");
        ensure_says(&prepare()?.error()?, NO_ADDRESS, &["small", "no address left"])?;
        ensure!(pooled.slots()?.len() == 3, "{:?}", pooled.slots()?);
        Ok(())
    })
}

#[test]
fn no_more_is_prepared_than_there_is_room_for() -> Result<()> {
    with_pool(&bare(), |pooled| {
        for verb in ["PREPARE", "REPLICATE"] {
            let error = pooled.operate(verb, "repoint.dev/count=5")?.error()?;
            println!("{verb}: {error:?}");
            ensure_says(&error, POOL_FULL, &["room for 4", "not for 5", "pool.maxSlots"])?;
            ensure!(pooled.slots()?.is_empty(), "some were made");
            let stored = cli::template::digest(pooled.node(), "functions");
            ensure!(stored.is_err(), "a template is stored of {verb}, which failed");
        }
        pooled.operate("PREPARE", "repoint.dev/count=3")?.success()?;
        pooled.operate("PREPARE", "")?.success()?;
        let error = pooled.operate("PREPARE", "")?.error()?;
        ensure_says(&error, POOL_FULL, &["room for 0"])?;
        ensure!(pooled.pool()?.total == 4, "{:?}", pooled.pool()?);
        pooled.operate("PREPARE", "repoint.dev/count=0")?.success().map(drop)
    })
}

#[test]
fn a_count_that_is_none_is_refused() -> Result<()> {
    with_pool(&bare(), |pooled| {
        for count in ["-1", "many", "70000"] {
            let error = pooled.operate("PREPARE", &format!("repoint.dev/count={count}"))?;
            ensure_says(&error.error()?, INVALID_ENVIRONMENT, &["repoint.dev/count", count])?;
        }
        let count = |count: Value| {
            let conf = |conf: &mut Value| {
                conf["args"] = json!({ "cni": { "repoint.dev/count": count } });
            };
            let nobody = Attachment::new("", Path::new(""));
            pooled.network_with(conf)?.call_single("PREPARE", &nobody, None)
        };
        ensure_says(&count(json!("3"))?.error()?, INVALID_CONFIGURATION, &["repoint.dev/count"])?;
        let made = count(json!(3))?.json()?;
        ensure!(made["slots"].as_array().is_some_and(|slots| slots.len() == 3), "{made}");
        Ok(())
    })
}

/// ACTIVATE at one path, and what is true of every attachment: traffic, CHECK, and an end.
fn lives(pooled: &Pooled<'_>, id: &str, path: &Path, end: &str) -> Result<()> {
    let attachment = Attachment::new(id, path).args(&user(TENANT, "resize"));
    let network = pooled.network();
    let result = network.call_single("ACTIVATE", &attachment, None)?.json()?;
    let slot = cli::slot_of(pooled.node(), id)?;
    ensure!(Some(Netns::inode_at(path)?.1) == slot.netns_inode, "{path:?} is not {slot:?}");
    let (given, here) = (addresses(&result)?, Host::here("node")?);
    traffic::all(&here, &Host::at(id, path)?, &given)?;
    network.check(&attachment, &result)?;
    let again = network.call_single("ACTIVATE", &attachment, None)?.error()?;
    ensure_says(&again, ALREADY_EXISTS, &[id])?;
    network.check(&attachment, &result)?;
    for _ in 0..2 {
        network.call_single(end, &attachment, Some(&result))?.success()?;
    }
    web::silent(&[&here], &given)?;
    pooled.wait_for_slot(&slot.slot, &["parked"])?;
    network.call_single("CHECK", &attachment, Some(&result))?.error().map(drop)
}

#[test]
fn activate_gives_what_is_prepared_wherever_it_is_wanted() -> Result<()> {
    with_pool(&bare(), |pooled| {
        pooled.operate("PREPARE", "")?.success()?;
        for end in ["PARK", "DEL"] {
            let netns = Netns::create("runtimes")?;
            let own = netns.inode()?;
            lives(pooled, "runtimes", netns.path(), end)?;
            ensure!(netns.inode()? == own, "the runtime's own namespace is not back");
            netns.remove()?;
            let nothing = Path::new("/run/gateway/deep/netns");
            lives(pooled, "nothing", nothing, end)?;
            fs::remove_file(nothing).context("the file that ACTIVATE made")?;
            fs::remove_dir_all("/run/gateway").context("its folder")?;
            let empty = Path::new("/run/empty");
            fs::write(empty, "").context("make an empty file")?;
            lives(pooled, "empty", empty, end)?;
            fs::remove_file(empty).context("the empty file")?;
        }
        // The first for nobody in particular, all others by its function.
        pooled.ensure_adds(&[("reused", 5), ("warm", 1)])
    })
}

#[test]
fn activate_without_anything_prepared_leaves_everything_as_it_was() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 4, "scope": "network" }), |pooled| {
        let said = ["functions/eth0", "PREPARE"];
        ensure_says(&pooled.refused("ACTIVATE", |own| own)?, NONE_PREPARED, &said)?;
        // What waits for another function is not for this one.
        pooled.operate("PREPARE", "repoint.dev/function=other;repoint.dev/tenant=b")?.success()?;
        let narrow = |own: Attachment| own.args("repoint.dev/function=f;repoint.dev/scope=tenant");
        ensure_says(&pooled.refused("ACTIVATE", narrow)?, NONE_PREPARED, &said)?;
        let path = Path::new("/run/nobody/netns");
        let attachment = Attachment::new("nobody", path).args("repoint.dev/scope=function");
        let error = pooled.network().call_single("ACTIVATE", &attachment, None)?.error()?;
        ensure_says(&error, NONE_PREPARED, &said)?;
        ensure!(!path.exists(), "{} is left", path.display());
        ensure!(pooled.pool()?.total == 1, "something was built: {:?}", pooled.slots()?);
        Ok(())
    })
}

/// What a slot, whose addresses are its own, cannot give.
#[test]
fn activate_refuses_what_a_slot_cannot_give() -> Result<()> {
    with_pool(&bare(), |pooled| {
        pooled.operate("PREPARE", "")?.success()?;
        let asked: [(Ask, &str); 4] = [
            (|own| own.capability("ips", json!(["10.217.9.99"])), "asks for an address"),
            (|own| own.capability("mac", json!("02:00:00:00:00:99")), "asks for an address"),
            (|own| own.args("IP=10.217.9.99"), "asks for an address"),
            (|own| own.args("repoint.dev/mode=none"), "mode none"),
        ];
        for (ask, why) in asked {
            ensure_says(&pooled.refused("ACTIVATE", ask)?, NODE_FAILURE, &[why])?;
        }
        let netns = Netns::create("chained")?;
        let attachment = Attachment::new("chained", netns.path());
        let previous = json!({ "cniVersion": "1.1.0", "interfaces": [{ "name": "net0" }] });
        let before = Snapshot::take(pooled.node().dirs())?;
        let error = pooled.network().call_single("ACTIVATE", &attachment, Some(&previous))?;
        ensure_says(&error.error()?, NODE_FAILURE, &["a plugin before it"])?;
        before.wait_until_restored(pooled.node().dirs())?;
        netns.remove()
    })
}

#[test]
fn park_is_the_inverse_of_add_too_and_harms_nobody() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let park = |id: &str| {
            let attachment = Attachment { netns: None, ..Attachment::new(id, Path::new("")) };
            pooled.network().call_single("PARK", &attachment, None)
        };
        park("unknown")?.success()?;
        let container = pooled.add_function("resize")?;
        let (id, slot) = (container.attachment().container_id.clone(), pooled.slot_of(&container)?);
        let (here, given) = (Host::here("node")?, container.addresses()?);
        traffic::all(&here, &container.host()?, &given)?;
        for _ in 0..3 {
            park(&id)?.success()?;
        }
        web::silent(&[&here], &given)?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        // DEL after PARK finds nothing to do, and the runtime its own namespace.
        container.remove()?;
        let again = pooled.add_function("resize")?;
        ensure!(pooled.slot_of(&again)?.character() == slot.character(), "not {slot:?}");
        again.remove()
    })
}

#[test]
fn what_is_in_the_containers_own_namespace_cannot_be_parked() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let container = pooled.add_with(|own| own.args("repoint.dev/mode=none"))?;
        let error = pooled.network().call_single("PARK", container.attachment(), None)?.error()?;
        println!("{error:?}");
        ensure_says(&error, NODE_FAILURE, &[&container.attachment().container_id])?;
        container.check()?;
        traffic::all(&Host::here("node")?, &container.host()?, &container.addresses()?)?;
        container.remove()
    })
}

/// Without a pool there is nothing that could be kept.
#[test]
fn operations_need_a_pool() -> Result<()> {
    with_pool(&bare(), |pooled| {
        let network: Network = pooled.network_with(|configuration| {
            configuration["name"] = json!("plain");
            if let Some(keys) = configuration.as_object_mut() {
                keys.remove("pool");
            }
        })?;
        let netns = Netns::create("plain")?;
        let attachment = Attachment::new("plain", netns.path());
        let before = Snapshot::take(pooled.node().dirs())?;
        let nobody = Attachment { container_id: String::new(), ..attachment.clone() };
        let nobody = nobody.args("repoint.dev/count=1");
        let asked = [("PREPARE", &nobody), ("REPLICATE", &nobody), ("ACTIVATE", &attachment)];
        for (verb, asked) in asked {
            let error = network.call_single(verb, asked, None)?.error()?;
            println!("{verb}: {error:?}");
            ensure_says(&error, INVALID_CONFIGURATION, &["plain", "no pool"])?;
        }
        let stored = cli::template::digest(pooled.node(), "plain");
        ensure!(stored.is_err(), "a template is stored of REPLICATE, which failed");
        // Without configurations of it there is no need of a pool.
        let template = nobody.args("");
        network.call_single("REPLICATE", &template, None)?.success()?;
        network.call_single("PARK", &attachment, None)?.success()?;
        before.wait_until_restored(pooled.node().dirs())?;
        netns.remove()
    })
}

/// In every version of the protocol, and with the parameters that each needs.
#[test]
fn operations_are_there_in_every_version() -> Result<()> {
    with_pool(&bare(), |pooled| {
        for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let network = pooled.network_with(|conf| conf["cniVersion"] = json!(version))?;
            let nobody = Attachment::new("", Path::new(""));
            let made = network.call_single("PREPARE", &nobody, None)?.json()?;
            ensure!(made["cniVersion"] == version, "{made}");
            let attachment = Attachment::new("old", Path::new("/run/old"));
            let result = network.call_single("ACTIVATE", &attachment, None)?.json()?;
            ensure!(result["cniVersion"] == version, "{result}");
            network.call_single("PARK", &attachment, None)?.success()?;
            pooled.repoint(&["pool", "drain", "functions"])?;
        }
        let call = Call::new(repoint_tests::dist::plugin(), "ACTIVATE", &json!({})).run()?;
        ensure_says(&call.error()?, INVALID_ENVIRONMENT, &["CNI_CONTAINERID", "ACTIVATE"])
    })
}
