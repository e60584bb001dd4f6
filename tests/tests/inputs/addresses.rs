//! Addresses that cannot work, and those that repoint, the node and its router have themselves.

use std::path::Path;

use anyhow::{Result, ensure};
use repoint_tests::{
    Agent, Netns, Node, cli,
    dist::{self, REFERENCE_PLUGINS},
    missing,
    node::{NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6},
    pooled::SOON,
    wait,
};
use serde_json::{Value, json};

use super::{
    INVALID_CONFIGURATION, NO_ADDRESS, add, attached, call, configuration, end, network_call,
    on_a_node, refused,
};

fn with_ranges(node: &Node, ranges: &Value) -> Value {
    let mut configuration = configuration(node);
    configuration["ipam"] = json!({ "ranges": ranges });
    configuration
}

#[test]
fn ranges_that_cannot_work_are_refused_by_name() -> Result<()> {
    on_a_node(|node| {
        let netns = Netns::create("unusable")?;
        for (subnet, block) in [
            ("127.0.0.0/8", "127.0.0.0/8, loopback"),
            ("127.9.0.0/24", "127.0.0.0/8, loopback"),
            ("0.1.0.0/24", "0.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/8"),
            ("224.1.0.0/24", "224.0.0.0/4, multicast"),
            ("255.255.255.0/24", "255.255.255.255/32, the broadcast"),
            ("::/64", "::/96"),
            ("::ffff:10.1.0.0/120", "::ffff:0.0.0.0/96, IPv4-mapped"),
            ("fe80::/64", "fe80::/10, link-local"),
            ("ff02::/64", "ff00::/8, multicast"),
        ] {
            let wrong = with_ranges(node, &json!([[{ "subnet": subnet }]]));
            let said = ["ipam.ranges[0][0].subnet", subnet, block];
            let outcome = call("ADD", &wrong, "unusable", &netns).run()?;
            refused("ADD", outcome, INVALID_CONFIGURATION, &said)?;
            let outcome = network_call("STATUS", &wrong).run()?;
            refused("STATUS", outcome, INVALID_CONFIGURATION, &said)?;
            let mut wrong = configuration(node);
            wrong["runtimeConfig"] = json!({ "ipRanges": [[{ "subnet": subnet }]] });
            let outcome = call("ADD", &wrong, "unusable", &netns).run()?;
            refused("ADD", outcome, INVALID_CONFIGURATION, &["runtimeConfig.ipRanges", block])?;
        }
        let mut wrong = configuration(node);
        wrong["runtimeConfig"] = json!({ "mac": "02:72:70:00:00:01" });
        let outcome = call("ADD", &wrong, "unusable", &netns).run()?;
        refused("ADD", outcome, INVALID_CONFIGURATION, &["runtimeConfig.mac", "gateway"])?;
        netns.remove()
    })
}

/// Adds containers until no address is left; gives the addresses, and ends the containers.
fn exhaust(configuration: &Value) -> Result<(Vec<String>, String)> {
    let (mut containers, mut given) = (Vec::new(), Vec::new());
    let error = loop {
        let name = format!("c{}", containers.len());
        let netns = Netns::create(&name)?;
        let outcome = call("ADD", configuration, &name, &netns).run()?;
        if !outcome.status.success() {
            netns.remove()?;
            break outcome.error()?;
        }
        let result = outcome.json()?;
        let ips = result["ips"].as_array().cloned().unwrap_or_default();
        given.extend(ips.iter().filter_map(|ip| ip["address"].as_str()).map(str::to_owned));
        containers.push((name, netns));
        ensure!(containers.len() < 20, "there is no end of addresses: {given:?}");
    };
    println!("given {given:?}, then: code {}: {}", error.code, error.msg);
    ensure!(error.code == NO_ADDRESS, "code {}: {}", error.code, error.msg);
    for (name, netns) in containers {
        end(configuration, &name, netns)?;
    }
    Ok((given, error.msg))
}

/// The node's subnet for a range: .1 is its router, .2 itself.
fn around_the_node(node: &Node, family: usize) -> Value {
    let ranges = [
        json!([[{ "subnet": "198.51.100.0/29", "gateway": "198.51.100.6" }]]),
        json!([[{ "subnet": "2001:db8:1::/125", "gateway": "2001:db8:1::6" }]]),
    ];
    with_ranges(node, &ranges[family])
}

#[test]
fn the_nodes_addresses_and_its_routers_are_not_given_and_named() -> Result<()> {
    on_a_node(|node| {
        let (own, router) = (
            [NODE_V4.to_string(), NODE_V6.to_string()],
            [OUTSIDE_V4.to_string(), OUTSIDE_V6.to_string()],
        );
        let expected = [
            vec!["198.51.100.3/29", "198.51.100.4/29", "198.51.100.5/29"],
            vec![
                "2001:db8:1::3/125",
                "2001:db8:1::4/125",
                "2001:db8:1::5/125",
                "2001:db8:1::7/125",
            ],
        ];
        for family in 0..2 {
            let configuration = around_the_node(node, family);
            let (given, error) = exhaust(&configuration)?;
            ensure!(given == expected[family], "given {given:?}");
            for part in [
                format!("{} is an address of the node", own[family]),
                format!("{} is the gateway of the node", router[family]),
            ] {
                ensure!(error.contains(&part), "the error does not say {part:?}: {error}");
            }
            let netns = Netns::create("asks")?;
            for (address, what) in [
                (&own[family], "an address of the node"),
                (&router[family], "the gateway of the node"),
            ] {
                let mut asks = configuration.clone();
                asks["runtimeConfig"] = json!({ "ips": [address] });
                let outcome = call("ADD", &asks, "asks", &netns).run()?;
                refused("ADD", outcome, NO_ADDRESS, &[address, what])?;
            }
            netns.remove()?;
        }
        Ok(())
    })
}

/// An address that the node gets later counts from the next allocation on.
#[test]
fn the_slots_of_a_pool_have_none_of_the_nodes_addresses() -> Result<()> {
    on_a_node(|node| {
        let mut configuration = around_the_node(node, 0);
        configuration["pool"] = json!({ "warm": 0, "maxSlots": 64 });
        let prepare = |count: u32| {
            let args = format!("repoint.dev/count={count}");
            network_call("PREPARE", &configuration).args(&args).run()
        };
        prepare(2)?.success()?;
        repoint_tests::command::run("ip", ["address", "add", "198.51.100.5/32", "dev", "lo"])?;
        let outcome = prepare(1)?;
        let said = ["198.51.100.2 is an address of the node", "198.51.100.5 is an address of"];
        refused("PREPARE", outcome, NO_ADDRESS, &said)?;
        let status = network_call("STATUS", &configuration).run()?;
        // Slots that wait make room.
        status.success()?;
        let mut addresses: Vec<String> =
            cli::slots(node)?.into_iter().flat_map(|slot| slot.addresses).collect();
        addresses.sort();
        ensure!(addresses == ["198.51.100.3/29", "198.51.100.4/29"], "{addresses:?}");
        repoint_tests::command::run("ip", ["address", "del", "198.51.100.5/32", "dev", "lo"])?;
        cli::repoint(node, &["unload"]).map(drop)
    })
}

/// An operator who counts on the ranges learns of it from the agent.
#[test]
fn the_agent_logs_which_addresses_no_slot_gets() -> Result<()> {
    if missing([dist::agent()]) {
        return Ok(());
    }
    on_a_node(|node| {
        let mut configuration = around_the_node(node, 0);
        configuration["pool"] = json!({ "warm": 1, "maxSlots": 64 });
        network_call("PREPARE", &configuration).args("repoint.dev/count=0").run()?.success()?;
        let agent = Agent::start(node)?;
        for expected in [
            "no slot gets 198.51.100.2, it is an address of the node",
            "no slot gets 198.51.100.1, it is the gateway of the node",
        ] {
            wait::until(SOON, "the agent logs a reserved address", || {
                let log = agent.log()?;
                ensure!(log.contains(expected), "no {expected:?} in the log:\n{log}");
                Ok(())
            })?;
        }
        agent.stop()?;
        cli::repoint(node, &["unload"]).map(drop)
    })
}

#[test]
fn the_gateway_of_all_containers_is_given_to_none() -> Result<()> {
    on_a_node(|node| {
        let range = json!([[{ "subnet": "169.254.1.0/29", "gateway": "169.254.1.6" }]]);
        let (given, error) = exhaust(&with_ranges(node, &range))?;
        let expected = ["169.254.1.2/29", "169.254.1.3/29", "169.254.1.4/29", "169.254.1.5/29"];
        ensure!(given == expected, "given {given:?}");
        ensure!(error.contains("169.254.1.1 is the gateway of all containers"), "{error}");
        Ok(())
    })
}

#[test]
fn a_delegated_plugins_address_that_cannot_work_is_refused_and_given_back() -> Result<()> {
    if missing([Path::new(REFERENCE_PLUGINS).join("host-local")]) {
        return Ok(());
    }
    on_a_node(|node| {
        let netns = Netns::create("delegated")?;
        for (subnet, address, why) in [
            ("198.51.100.0/24", "198.51.100.2", "an address of the node"),
            ("198.51.100.0/24", "198.51.100.1", "the gateway of the node"),
            ("169.254.1.0/24", "169.254.1.1", "the gateway of all containers"),
            ("127.1.0.0/24", "127.1.0.7", "127.0.0.0/8, loopback"),
        ] {
            let mut configuration = configuration(node);
            configuration["cniVersion"] = json!("1.0.0");
            configuration["ipam"] = json!({
                "type": "host-local", "subnet": subnet, "rangeStart": address, "rangeEnd": address,
                "gateway": "198.51.100.254", "dataDir": "/run/host-local",
            });
            if !subnet.starts_with("198") {
                configuration["ipam"]["gateway"] =
                    json!(address.replace(".7", ".9").replace(".1.1", ".1.9"));
            }
            let outcome = call("ADD", &configuration, "delegated", &netns).run()?;
            refused(address, outcome, NO_ADDRESS, &["host-local", address, why])?;
            let reserved = Path::new("/run/host-local/inputs").join(address);
            ensure!(!reserved.exists(), "host-local has {address} still");
            ensure!(attached(node)?.is_empty());
        }
        std::fs::remove_dir_all("/run/host-local")?;
        netns.remove()
    })
}

/// A container in the node's subnet is reached as any other.
#[test]
fn a_container_beside_the_nodes_address_works() -> Result<()> {
    on_a_node(|node| {
        let configuration = around_the_node(node, 0);
        let (netns, result) = add(&configuration, "beside")?;
        let mut checked = configuration.clone();
        checked["prevResult"] = result;
        call("CHECK", &checked, "beside", &netns).run()?.success()?;
        let address = format!("{NODE_V4}");
        netns.run(|| repoint_tests::command::run("ip", ["route", "get", &address]))?;
        end(&configuration, "beside", netns)
    })
}
