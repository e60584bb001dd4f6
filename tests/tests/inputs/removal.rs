//! GC with no list, null and empty; DEL with whatever is wrong that it does not need.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Netns, dist::REFERENCE_PLUGINS, missing, with_pool};
use serde_json::{Map, Value, json};

use super::{
    INCOMPATIBLE_VERSION, INVALID_CONFIGURATION, add, attached, call, configuration, end,
    network_call, on_a_node, refused,
};

fn with(configuration: &Value, more: &Value) -> Value {
    let mut with = configuration.clone();
    let more: Map<String, Value> = more.as_object().cloned().unwrap_or_default();
    if let Some(map) = with.as_object_mut() {
        map.extend(more);
    }
    with
}

/// What libcni sends where its caller gives no list, where the list is nil, and where it is empty.
#[test]
fn gc_removes_everything_with_an_empty_list_and_nothing_without_a_list() -> Result<()> {
    let (spec, libcni) = ("cni.dev/valid-attachments", "cni.dev/attachments");
    on_a_node(|node| {
        let configuration = configuration(node);
        let all = vec!["gc0".to_owned(), "gc1".to_owned()];
        for (lists, left) in [
            (json!({}), all.clone()),
            (json!({spec: null, libcni: null}), vec![]),
            (json!({spec: null}), vec![]),
            (json!({libcni: null}), vec![]),
            (json!({spec: [], libcni: []}), vec![]),
            (
                json!({spec: [{"containerID": "gc1", "ifname": "eth0"}], libcni: null}),
                all[1..].to_vec(),
            ),
        ] {
            let (first, second) = (add(&configuration, "gc0")?.0, add(&configuration, "gc1")?.0);
            network_call("GC", &with(&configuration, &lists)).run()?.success()?;
            let found = attached(node)?;
            ensure!(found == left, "with {lists}: {found:?} are left, not {left:?}");
            end(&configuration, "gc0", first)?;
            end(&configuration, "gc1", second)?;
        }
        Ok(())
    })
}

/// A list of a wrong type, or under a misspelt key, must not be taken for none, nor for an empty one.
#[test]
fn gc_refuses_lists_that_it_cannot_read() -> Result<()> {
    on_a_node(|node| {
        let configuration = configuration(node);
        let (netns, _) = add(&configuration, "kept")?;
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            for value in [json!({}), json!("kept"), json!([null]), json!([{"containerID": "a"}])] {
                let call = network_call("GC", &with(&configuration, &json!({key: value})));
                refused(&value.to_string(), call.run()?, INVALID_CONFIGURATION, &[key])?;
            }
        }
        let misspelt = json!({"cni.dev/valid-attachment": []});
        let call = network_call("GC", &with(&configuration, &misspelt));
        let said = ["cni.dev/valid-attachment is", "correct it to cni.dev/valid-attachments"];
        refused("misspelt", call.run()?, INVALID_CONFIGURATION, &said)?;
        ensure!(attached(node)? == ["kept"]);
        end(&configuration, "kept", netns)
    })
}

/// Keys that became wrong after ADD, as far as DEL does not need them.
fn broken() -> Vec<Value> {
    vec![
        json!({"prevResult": {"cniVersion": "9.9.9"}}),
        json!({"prevResult": 7}),
        json!({"type": null}),
        json!({"ipMasq": "yes"}),
        json!({"ipmasq": true}),
        json!({"mtu": 1}),
        json!({"linkLocal": "maybe"}),
        json!({"maxConcurrentBuilds": 0}),
        json!({"pool": "big"}),
        json!({"pool": {"warm": -1}}),
        json!({"dns": []}),
        json!({"capabilities": 7}),
        json!({"runtimeConfig": {"mac": "x", "ips": 7}}),
        json!({"args": "x"}),
        json!({"args": {"cni": {"repoint.dev/scop": "x"}}}),
        json!({"ipam": null}),
        json!({"ipam": "host-local"}),
        json!({"ipam": {"type": 7}}),
        json!({"ipam": {"ranges": [[{"subnet": "127.0.0.0/8"}]]}}),
        json!({"ipam": {"ranges": "10.0.0.0/8", "routes": 7}}),
    ]
}

#[test]
fn del_succeeds_with_every_key_wrong_that_it_does_not_need() -> Result<()> {
    on_a_node(|node| {
        let configuration = configuration(node);
        for wrong in broken() {
            let wrong_now = with(&configuration, &wrong);
            let (netns, _) = add(&configuration, "broken")?;
            let again = |when: &str| -> Result<()> {
                let outcome = call("DEL", &wrong_now, "broken", &netns).run()?;
                outcome.success().with_context(|| format!("{when} with {wrong}"))?;
                let left = attached(node)?;
                ensure!(left.is_empty(), "{when} with {wrong}: {left:?} are left");
                Ok(())
            };
            again("the first DEL")?;
            // As after an ADD that failed for that key: nothing is there.
            again("the second DEL")?;
            netns.remove()?;
        }
        Ok(())
    })
}

#[test]
fn del_succeeds_with_variables_that_it_does_not_need() -> Result<()> {
    on_a_node(|node| {
        let configuration = configuration(node);
        for (name, value) in [
            ("CNI_NETNS", "netns"),
            ("CNI_NETNS", ""),
            ("CNI_ARGS", "nonsense"),
            ("CNI_ARGS", "IP=10.1.0"),
            ("CNI_ARGS", "repoint.dev/scop=x"),
        ] {
            let (netns, _) = add(&configuration, "variables")?;
            let call = call("DEL", &configuration, "variables", &netns).variable(name, value);
            call.run()?.success().with_context(|| format!("{name}={value}"))?;
            ensure!(attached(node)?.is_empty(), "{name}={value}: it is left");
            netns.remove()?;
        }
        Ok(())
    })
}

/// The spec has code 1 for a version that a plugin does not know, at DEL as well.
#[test]
fn del_fails_where_it_cannot_know_what_to_delete() -> Result<()> {
    on_a_node(|node| {
        let configuration = configuration(node);
        let (netns, _) = add(&configuration, "kept")?;
        for (wrong, code, said) in [
            (json!({"cniVersion": "9.9.9"}), INCOMPATIBLE_VERSION, "cniVersion"),
            (json!({"cniVersion": 1}), INVALID_CONFIGURATION, "cniVersion is 1"),
            (json!({"name": null}), INVALID_CONFIGURATION, "name is missing"),
            (json!({"name": "../x"}), INVALID_CONFIGURATION, "name is"),
            (json!({"runDir": "run"}), INVALID_CONFIGURATION, "runDir is"),
            (json!({"bpfDir": 7}), INVALID_CONFIGURATION, "bpfDir is 7"),
        ] {
            let wrong_now = with(&configuration, &wrong);
            let outcome = call("DEL", &wrong_now, "kept", &netns).run()?;
            refused(&wrong.to_string(), outcome, code, &[said])?;
            ensure!(attached(node)? == ["kept"], "{wrong}: it is gone");
        }
        end(&configuration, "kept", netns)
    })
}

/// The record says which plugin gave the addresses.
#[test]
fn del_gives_a_delegated_plugins_addresses_back_whatever_ipam_is() -> Result<()> {
    if missing([Path::new(REFERENCE_PLUGINS).join("host-local")]) {
        return Ok(());
    }
    on_a_node(|node| {
        let mut configuration = configuration(node);
        configuration["cniVersion"] = json!("1.0.0");
        configuration["ipam"] =
            json!({"type": "host-local", "ranges": [[{ "subnet": "10.217.6.0/30" }]]});
        for wrong in [json!({"ipam": 7}), json!({"ipam": {"type": 7}}), json!({"mtu": "x"})] {
            // The subnet has one address: it is given again only if it was given back.
            let (netns, result) = add(&configuration, "delegated")?;
            ensure!(result["ips"][0]["address"] == "10.217.6.2/30", "{result}");
            // host-local reads `ipam` itself.
            let outcome = call("DEL", &with(&configuration, &wrong), "delegated", &netns).run()?;
            match outcome.success() {
                Ok(_) => {}
                Err(error) => println!("{wrong}: {error:#}"),
            }
            end(&configuration, "delegated", netns)?;
        }
        Ok(())
    })
}

/// What a runtime sends that asks for nothing does not keep a container from a slot.
#[test]
fn empty_requests_are_served_from_the_pool() -> Result<()> {
    with_pool(&json!({ "warm": 1, "scope": "network" }), |pooled| {
        pooled.fill()?;
        let network = pooled.network_with(|configuration| {
            configuration["mtu"] = json!(0);
            configuration["capabilities"] = Value::Null;
            configuration["runtimeConfig"] = json!({
                "ips": [], "ipRanges": [], "mac": "", "dns": {"servers": null, "searches": []},
            });
            configuration["args"] = json!({"cni": {"ips": null, "repoint.dev/function": ""}});
        })?;
        let netns = Netns::create("nothing")?;
        let attachment = repoint_tests::plugin::Attachment::new("nothing", netns.path());
        let result = network.add(&attachment)?;
        let pool = pooled.pool()?;
        ensure!(pool.hits == 1, "{:?}", pool.adds);
        network.check(&attachment, &result)?;
        network.del(&attachment, Some(&result))?;
        netns.remove()
    })
}
