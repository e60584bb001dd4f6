//! Packets of a container to addresses that must not leave the node: loopback, the gateway's own,
//! link-local ones. They are counted at the outside's end of the uplink.
#![cfg(test)]

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint_common::mac::GATEWAY_MAC;
use repoint_tests::{
    Container, Node, cli, command, dist, missing,
    node::OUTSIDE,
    packet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6},
    plugin::Network,
    tap::Tap,
    traffic::{self, Host},
    wait,
};
use serde_json::json;

/// How long a packet may take to the outside.
const LIMIT: Duration = Duration::from_secs(5);
/// Packets to each address.
const EACH: u64 = 5;
/// Of a cloud's metadata service.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Of a DNS cache on the node.
const NODE_DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

fn skipped() -> bool {
    missing([dist::plugin(), dist::cli()])
}

/// A network whose containers reach the outside under the node's address.
fn network(node: &Node, more: &[(&str, serde_json::Value)]) -> Result<Network> {
    let mut configuration = json!({
        "cniVersion": "1.0.0", "name": "functions", "type": "repoint-cni", "ipMasq": true,
        "ipam": {
            "ranges": [[{ "subnet": "10.217.3.0/24" }], [{ "subnet": "fd00:217:3::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        },
    });
    for (key, value) in more {
        configuration[key] = value.clone();
    }
    node.dirs().patch(&mut configuration);
    Network::new(&configuration, dist::cni_path())
}

/// A container that sends frames past its own kernel's routes.
struct Sender {
    tap: Tap,
    mac: packet::Mac,
    own: Vec<IpAddr>,
}

impl Sender {
    fn new(node: &Node, container: &Container<'_>) -> Result<Self> {
        let slot = cli::slot_of(node, &container.attachment().container_id)?;
        let octet = |text| u8::from_str_radix(text, 16);
        let mac = slot.mac.split(':').map(octet).collect::<Result<Vec<_>, _>>()?;
        let mac = mac.try_into().map_err(|mac| anyhow::anyhow!("MAC address {mac:?}"))?;
        let tap = Tap::open_on(&container.host()?, "eth0")?;
        Ok(Self { tap, mac, own: container.addresses()? })
    }

    /// Sends a datagram to an address, by the gateway.
    fn send(&self, destination: IpAddr) -> Result<()> {
        let own = self.own.iter().find(|own| own.is_ipv4() == destination.is_ipv4());
        let (ethertype, bytes) = match (own.context("no address of the family")?, destination) {
            (IpAddr::V4(own), IpAddr::V4(to)) => (ETHERTYPE_IPV4, Ipv4::new(*own, to).bytes()),
            (IpAddr::V6(own), IpAddr::V6(to)) => (ETHERTYPE_IPV6, Ipv6::new(*own, to).bytes()),
            (own, to) => anyhow::bail!("from {own} to {to}"),
        };
        self.tap.send(&packet::frame(GATEWAY_MAC, self.mac, ethertype, &bytes))
    }
}

/// Sends packets to all addresses, and gives those that reached the outside's end of the uplink.
/// The packets to the outside host that are sent last arrive last.
fn reach_the_uplink(node: &Node, sender: &Sender, addresses: &[IpAddr]) -> Result<Vec<IpAddr>> {
    let uplink = Tap::open_on(&node.outside_host()?, node.uplink().name)?;
    for _ in 0..EACH {
        for address in addresses {
            sender.send(*address)?;
        }
    }
    let mut seen = Vec::new();
    for last in OUTSIDE {
        sender.send(last)?;
        wait::until(LIMIT, "the last packet is on the uplink", || {
            seen.extend(uplink.seen()?.into_iter().map(|packet| packet.destination));
            ensure!(seen.contains(&last), "{last} is not among {seen:?}");
            Ok(())
        })?;
    }
    seen.retain(|address| addresses.contains(address));
    Ok(seen)
}

/// Packets of the only container that were dropped for a reason.
fn dropped(node: &Node, reason: &str) -> Result<u64> {
    let drops = cli::drops(node)?;
    let of_reason = drops.iter().filter(|drops| drops.reason == reason);
    Ok(of_reason.map(|drops| drops.packets).sum())
}

#[test]
fn packets_to_addresses_of_no_wire_never_leave_the_node() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, &[])?;
        let container = Container::add(&network, "one")?;
        let sender = Sender::new(&node, &container)?;
        let martians: Vec<IpAddr> = [
            "127.0.0.1",
            "127.0.0.53",
            "0.0.0.0",
            "169.254.1.1",
            "::1",
            "::",
            "::ffff:198.51.100.1",
            "fe80::1",
        ]
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?;
        let link_local = [METADATA.into(), "fe80::a9fe:a9fe".parse()?];
        let all = [&martians[..], &link_local].concat();
        let seen = reach_the_uplink(&node, &sender, &all)?;
        ensure!(seen.is_empty(), "on the uplink are packets to {seen:?}");
        let count = |reason, wanted| -> Result<()> {
            let found = dropped(&node, reason)?;
            ensure!(found == wanted, "{reason}: {found} packets, not {wanted}");
            Ok(())
        };
        count("martian", EACH * u64::try_from(martians.len())?)?;
        count("link_local", EACH)?;
        container.remove()
    })
}

#[test]
fn a_dns_cache_with_a_link_local_address_on_the_node_answers() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, &[])?;
        let container = Container::add(&network, "one")?;
        // The address comes after the container.
        command::run("ip", ["address", "add", &format!("{NODE_DNS}/32"), "dev", "lo"])?;
        traffic::all(&container.host()?, &Host::here("node")?, &[NODE_DNS.into()])?;
        let sender = Sender::new(&node, &container)?;
        let seen = reach_the_uplink(&node, &sender, &[NODE_DNS.into()])?;
        ensure!(seen.is_empty(), "on the uplink are packets to {seen:?}");
        container.remove()
    })
}

#[test]
fn a_metadata_service_outside_answers_only_where_the_network_allows_it() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let outside = node.outside_host()?;
        outside.run(|| {
            command::run("ip", ["address", "add", &format!("{METADATA}/32"), "dev", "lo"])?;
            Ok(())
        })?;
        for (value, answers) in [(None, false), (Some("deny"), false), (Some("allow"), true)] {
            let more: Vec<_> = value.map(|value| ("linkLocal", json!(value))).into_iter().collect();
            let network = network(&node, &more)?;
            let container = Container::add(&network, "one")?;
            let inside = container.host()?;
            let exchange = if answers {
                traffic::tcp(&inside, &outside, METADATA.into()).map(drop)
            } else {
                traffic::no_tcp(&inside, &outside, METADATA.into())
            };
            exchange.with_context(|| format!("linkLocal {value:?}"))?;
            // A host of the internet is reached either way.
            traffic::tcp(&inside, &outside, OUTSIDE[0])?;
            container.remove()?;
        }
        Ok(())
    })
}

#[test]
fn a_pools_slots_are_made_as_the_network_says_of_link_local_addresses() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        for (value, flags) in [("allow", 2), ("deny", 0)] {
            let pool = json!({ "warm": 0, "maxSlots": 4 });
            let network = network(&node, &[("linkLocal", json!(value)), ("pool", pool)])?;
            let container = Container::add(&network, value)?;
            let maps =
                repoint::datapath::Maps::open_existing(&node.dirs().bpf)?.context("no maps")?;
            let slot = cli::slot_of(&node, value)?.slot.parse::<repoint::model::SlotId>()?;
            let interfaces = maps.interfaces()?;
            let found = interfaces.iter().find(|(_, interface)| interface.slot == slot.0);
            let (_, interface) = found.with_context(|| format!("slot {slot} has no interface"))?;
            ensure!(interface.flags == flags, "linkLocal {value}: flags {}", interface.flags);
            container.remove()?;
        }
        Ok(())
    })
}

#[test]
fn drops_are_shown_by_slot_also_after_its_end() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, &[])?;
        let loud = Container::add(&network, "loud")?;
        let quiet = Container::add(&network, "quiet")?;
        for (container, packets) in [(&loud, 40), (&quiet, 1)] {
            let sender = Sender::new(&node, container)?;
            for _ in 0..packets {
                sender.send(Ipv4Addr::LOCALHOST.into())?;
            }
        }
        let martians = || -> Result<Vec<cli::Drops>> {
            let drops = cli::drops(&node)?;
            Ok(drops.into_iter().filter(|drops| drops.reason == "martian").collect())
        };
        let found = martians()?;
        print!("{}", cli::repoint(&node, &["counters", "--slots"])?);
        let shown: Vec<_> =
            found.iter().map(|drops| (drops.container.as_deref(), drops.packets)).collect();
        assert_eq!(shown, [(Some("loud"), 40), (Some("quiet"), 1)]);
        assert!(found.iter().all(|drops| drops.network.as_deref() == Some("functions")));
        loud.remove()?;
        quiet.remove()?;
        print!("{}", cli::repoint(&node, &["counters", "--slots"])?);
        let after: Vec<_> = martians()?
            .into_iter()
            .map(|drops| (drops.slot, drops.state, drops.container, drops.packets))
            .collect();
        let deleted = Some("deleted".to_owned());
        let wanted: Vec<_> = found
            .into_iter()
            .map(|drops| (drops.slot, deleted.clone(), None, drops.packets))
            .collect();
        assert_eq!(after, wanted);
        Ok(())
    })
}
