//! Links without IPv6, and sysctls that contradict a network's addresses: of a container's namespace,
//! of a template and of the node.
#![cfg(test)]

use std::{fs, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Netns, Pooled,
    cli::template,
    command,
    node::{OUTSIDE, Uplink},
    plugin::{Attachment, Network},
    pooled::{TENANT, user},
    traffic::{self, Host},
    with_network,
};
use serde_json::{Value, json};

/// An uplink on which IPv6 has no place (RFC 8200: 1280 bytes at least).
const NARROW: Uplink = Uplink { mtu: 1200, ..Uplink::FIRST };
/// Error code for a configuration that cannot be.
const INVALID_CONFIGURATION: u32 = 7;

fn sysctl(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(name)
}

/// Sets a sysctl of the calling thread's namespace.
fn set(name: &str, value: &str) -> Result<()> {
    fs::write(sysctl(name), value).with_context(|| format!("write {name}"))
}

fn value(name: &str) -> Result<String> {
    let text = fs::read_to_string(sysctl(name)).with_context(|| format!("read {name}"))?;
    Ok(text.trim().to_owned())
}

fn only_ipv4(configuration: &mut Value) {
    configuration["pool"] = json!({ "warm": 2, "maxSlots": 6 });
    configuration["ipam"]["ranges"] = json!([[{ "subnet": "10.217.9.0/24" }]]);
    configuration["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0" }]);
}

/// The network without its pool, under another name, with other addresses.
fn direct(pooled: &Pooled<'_>, change: impl FnOnce(&mut Value)) -> Result<Network> {
    pooled.network_with(|configuration| {
        configuration["name"] = json!("direct");
        configuration.as_object_mut().map(|keys| keys.remove("pool"));
        let text = configuration["ipam"].to_string().replace("217", "218");
        configuration["ipam"] = serde_json::from_str(&text).unwrap_or_default();
        change(configuration);
    })
}

/// An address of a container is reached from the node, and by `lo`, which has a switch of its own. In a
/// namespace of the runtime's, another plugin brings that up.
fn reached(here: &Host, inside: &Host, address: IpAddr) -> Result<()> {
    inside.run(|| command::run("ip", ["link", "set", "lo", "up"]))?;
    traffic::tcp(here, inside, address)?;
    traffic::tcp(inside, inside, address).map(drop)
}

/// A container's addresses are reached from the node and from another container, and reach the outside.
fn has_traffic(pooled: &Pooled<'_>, container: &Container<'_>) -> Result<()> {
    let (inside, here) = (container.host()?, Host::here("node")?);
    let outside = pooled.node().outside_host()?;
    for address in container.addresses()? {
        reached(&here, &inside, address)?;
        let there = OUTSIDE.into_iter().find(|there| there.is_ipv4() == address.is_ipv4());
        traffic::tcp(&inside, &outside, there.context("no such family outside")?)?;
    }
    Ok(())
}

/// A slot of the pool lives its whole life: hit, scrub, reuse; and a sweep finds nothing.
fn slots_live(pooled: &Pooled<'_>, ask: impl Fn(Attachment) -> Attachment) -> Result<()> {
    let first = pooled.add_with(&ask)?;
    has_traffic(pooled, &first)?;
    first.check()?;
    let slot = pooled.slot_of(&first)?.slot;
    first.remove()?;
    pooled.wait_for_slot(&slot, &["parked"])?;
    let again = pooled.add_with(&ask)?;
    ensure!(pooled.slot_of(&again)?.slot == slot, "another slot");
    has_traffic(pooled, &again)?;
    again.check()?;
    let report: Value = serde_json::from_str(&pooled.repoint(&["sweep", "--json"])?)?;
    ensure!(report["findings"] == json!([]), "{report}");
    again.remove()
}

fn own(attachment: Attachment) -> Attachment {
    attachment.args(&user(TENANT, "f"))
}

/// Neither the key nor the uplink keeps an IPv4 network from working.
#[test]
fn ipv4_networks_work_on_links_without_ipv6() -> Result<()> {
    for (uplink, key) in [(NARROW, None), (Uplink::FIRST, Some(576))] {
        let change = |configuration: &mut Value| {
            only_ipv4(configuration);
            if let Some(mtu) = key {
                configuration["mtu"] = json!(mtu);
            }
        };
        with_network(uplink, change, |pooled| {
            pooled.fill()?;
            slots_live(pooled, own)?;
            let network = direct(pooled, |_| ())?;
            let container = Container::add(&network, "direct")?;
            has_traffic(pooled, &container)?;
            container.check()?;
            container.remove()?;
            let agent = pooled.agent()?;
            let container = pooled.add()?;
            has_traffic(pooled, &container)?;
            container.remove()?;
            agent.stop()
        })?;
    }
    Ok(())
}

/// The error says what is wrong, pooled and direct, and nothing is left.
#[test]
fn networks_of_both_families_are_refused_on_links_without_ipv6() -> Result<()> {
    with_network(NARROW, only_ipv4, |pooled| {
        let both = |configuration: &mut Value| {
            configuration["ipam"]["ranges"] =
                json!([[{ "subnet": "10.219.9.0/24" }], [{ "subnet": "fd00:219:9::/64" }]]);
        };
        let pool = pooled.network_with(|configuration| {
            configuration["name"] = json!("both");
            both(configuration);
        })?;
        for network in [pool, direct(pooled, both)?] {
            let netns = Netns::create("both")?;
            let attachment = Attachment::new("both", netns.path());
            let error = network.call_single("ADD", &attachment, None)?.error()?;
            println!("code {}: {}", error.code, error.msg);
            ensure!(error.code == INVALID_CONFIGURATION, "code {}", error.code);
            ensure!(error.msg.contains("an interface of MTU 1200 has no IPv6"), "{}", error.msg);
            network.del(&attachment, None)?;
            netns.remove()?;
        }
        Ok(())
    })
}

/// What a runtime, or its user, may have set in a container's namespace before ADD.
const BEFORE: [&[(&str, &str)]; 4] = [
    &[("ipv6/conf/all/disable_ipv6", "1")],
    &[("ipv6/conf/default/disable_ipv6", "1"), ("ipv6/conf/lo/disable_ipv6", "1")],
    &[
        ("ipv4/conf/all/rp_filter", "1"),
        ("ipv4/conf/default/rp_filter", "1"),
        ("ipv4/conf/all/arp_ignore", "8"),
        ("ipv4/conf/default/arp_announce", "2"),
    ],
    &[
        ("ipv6/conf/default/accept_dad", "2"),
        ("ipv6/conf/default/keep_addr_on_down", "0"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/autoconf", "0"),
        ("ipv6/conf/default/addr_gen_mode", "2"),
    ],
];

fn both(configuration: &mut Value) {
    configuration["pool"] = json!({ "warm": 1, "maxSlots": 6, "checkSysctls": true });
}

#[test]
fn sysctls_of_a_namespace_keep_no_address_away() -> Result<()> {
    with_network(Uplink::FIRST, both, |pooled| {
        let network = direct(pooled, |_| ())?;
        for (number, sysctls) in BEFORE.into_iter().enumerate() {
            println!("{sysctls:?}");
            for network in [&network, pooled.network()] {
                pooled.fill()?;
                let name = format!("c{number}-{}", network.name());
                let netns = Netns::create(&name)?;
                netns.run(|| sysctls.iter().try_for_each(|(name, value)| set(name, value)))?;
                let attachment = Attachment::new(&name, netns.path());
                let result = network.add(&attachment)?;
                let container = Host::container(&netns)?;
                for ip in result["ips"].as_array().context("no addresses")? {
                    let address = ip["address"].as_str().unwrap_or_default();
                    let address = address.split('/').next().unwrap_or_default();
                    reached(&Host::here("node")?, &container, address.parse()?)?;
                }
                network.check(&attachment, &result)?;
                network.del(&attachment, Some(&result))?;
                netns.remove()?;
            }
        }
        // Those with IPv6 off were served in their own namespaces: setting the same in a slot's would
        // take its addresses away.
        let adds = pooled.pool()?.adds;
        ensure!(adds.get("ipv6_disabled") == Some(&2), "{adds:?}");
        Ok(())
    })
}

/// A template of a network's configuration with a sysctl.
fn with_sysctl(key: &str, value: &str) -> String {
    json!({
        "version": 1,
        "operations": [
            { "operation": "createLink" },
            { "operation": "assignAddress", "from": "ipam" },
            { "operation": "addGateway" },
            { "operation": "addRoute", "to": { "prefix": "0.0.0.0/0" }, "via": "gateway" },
            { "operation": "addRoute", "to": { "prefix": "::/0" }, "via": "gateway" },
            { "operation": "addRoute", "to": "ownSubnets", "via": "gateway" },
            { "operation": "attachPrograms" },
            { "operation": "masquerade" },
            { "operation": "setSysctl", "key": key, "value": value },
        ],
    })
    .to_string()
}

/// A slot whose namespace has IPv6 off by default works, also after a scrub; a template that names the
/// interface itself contradicts the network.
#[test]
fn sysctls_of_a_template_keep_no_address_away() -> Result<()> {
    let change = |configuration: &mut Value| {
        both(configuration);
        configuration["pool"]["templates"] = json!(["off", "contradicts"]);
    };
    with_network(Uplink::FIRST, change, |pooled| {
        let node = pooled.node();
        template::import(node, "off", &with_sysctl("net.ipv6.conf.all.disable_ipv6", "1"))?;
        let asked = format!("repoint.dev/template=off;{}", user(TENANT, "f"));
        slots_live(pooled, |attachment| attachment.args(&asked))?;
        let key = "net.ipv6.conf.{interface}.disable_ipv6";
        template::import(node, "contradicts", &with_sysctl(key, "1"))?;
        let error = pooled.refused("ADD", |attachment| {
            attachment.args("IgnoreUnknown=1;repoint.dev/template=contradicts")
        })?;
        ensure!(error.code == INVALID_CONFIGURATION, "code {}: {}", error.code, error.msg);
        ensure!(error.msg.contains(key) || error.details.contains(key), "{error:?}");
        Ok(())
    })
}

/// What interfaces of the node have by default, where its operator has hardened it.
const OF_THE_NODE: [&[(&str, &str)]; 3] = [
    &[("ipv6/conf/default/disable_ipv6", "1")],
    &[("ipv4/conf/all/rp_filter", "1"), ("ipv4/conf/default/rp_filter", "1")],
    &[("ipv4/conf/default/forwarding", "0"), ("ipv4/conf/default/accept_local", "0")],
];

#[test]
fn defaults_of_the_node_keep_no_packet_away() -> Result<()> {
    for sysctls in OF_THE_NODE {
        println!("{sysctls:?}");
        with_network(Uplink::FIRST, both, |pooled| {
            // Forwarding is switched on for all with the first container; these come after.
            set("ipv4/ip_forward", "1")?;
            set("ipv6/conf/all/forwarding", "1")?;
            sysctls.iter().try_for_each(|(name, value)| set(name, value))?;
            pooled.fill()?;
            slots_live(pooled, own)?;
            let network = direct(pooled, |_| ())?;
            let container = Container::add(&network, "direct")?;
            has_traffic(pooled, &container)?;
            container.check()?;
            container.remove()?;
            for (name, wanted) in sysctls {
                ensure!(value(name)? == *wanted, "{name} was changed");
            }
            Ok(())
        })?;
    }
    Ok(())
}
