//! A chain of six: ours, and Debian's portmap, bandwidth, tuning, firewall and sbr behind it.
#![cfg(test)]

use std::{
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::unix::fs::symlink,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, Snapshot, command,
    dist::{self, REFERENCE_PLUGINS},
    example, missing,
    node::{NODE, NODE_V4},
    plugin::{Attachment, Network},
    traffic::Host,
};
use serde_json::{Value, json};

/// Port of the container, and of the node.
const PORTS: (u16, u16) = (80, 8080);
/// What bandwidth limits traffic to the container to, in bits a second and bits.
///
/// Traffic from the container cannot be limited by it: for that it makes an ingress qdisc, and the
/// kernel has one place for that and for the clsact qdisc of our programs.
const RATE: u64 = 100_000_000;
/// A folder with iptables and without ip6tables.
const TOOLS: &str = "/run/tools";

fn skipped() -> bool {
    let theirs = ["portmap", "bandwidth", "tuning", "firewall", "sbr"];
    let theirs = theirs.map(|name| Path::new(REFERENCE_PLUGINS).join(name));
    missing(theirs) || missing([dist::plugin()])
}

fn configuration(node: &Node) -> Result<Value> {
    let mut configuration = example("chain.conflist")?;
    node.dirs().patch(&mut configuration["plugins"][0]);
    Ok(configuration)
}

fn ask(attachment: Attachment) -> Attachment {
    let (container, host) = PORTS;
    let mapping = json!({ "hostPort": host, "containerPort": container, "protocol": "tcp" });
    let limit = json!({ "ingressRate": RATE, "ingressBurst": RATE });
    attachment.capability("portMappings", json!([mapping])).capability("bandwidth", limit)
}

/// From ADD to DEL; the plugins of `checks` CHECK, and the mapped port answers at `addresses` of the
/// node.
fn cycle(node: &Node, network: &Network, checks: &[Network], addresses: &[IpAddr]) -> Result<()> {
    let container = Container::add_with(network, "one", ask)?;
    checks.iter().try_for_each(|plugins| container.check_by(plugins))?;
    mapped_port_answers(node, &container, addresses)?;
    container.netns().run(|| {
        let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn")?;
        ensure!(somaxconn.trim() == "512", "tuning set somaxconn to {somaxconn}");
        let rules = command::run("ip", ["rule"])?;
        // The answers found their way by it: sbr moves all routes into this table.
        ensure!(rules.contains("lookup 100"), "sbr made no rule:\n{rules}");
        Ok(())
    })?;
    let shaped = command::run("tc", ["qdisc"])?;
    ensure!(shaped.contains("tbf"), "bandwidth made no token bucket filter:\n{shaped}");
    container.remove()
}

/// From the outside, and from the node itself.
fn mapped_port_answers(node: &Node, container: &Container<'_>, at: &[IpAddr]) -> Result<()> {
    let (inside, here, outside) = (container.host()?, Host::here("node")?, node.outside_host()?);
    let (port, host_port) = PORTS;
    let server = inside.listen((Ipv6Addr::UNSPECIFIED, port))?;
    for &address in at {
        for client in [&outside, &here] {
            let seen = server.exchange(client, SocketAddr::new(address, host_port))?.ip();
            let seen = seen.to_canonical();
            println!("{} reaches {address} port {host_port}, seen as {seen}", client.name());
        }
    }
    Ok(())
}

/// Two cycles, of which the second leaves nothing: portmap and firewall make chains for all
/// containers with the first, and never remove them.
fn cycles(node: &Node, network: &Network, checks: &[Network], addresses: &[IpAddr]) -> Result<()> {
    cycle(node, network, checks, addresses)?;
    let before = Snapshot::take(node.dirs())?;
    cycle(node, network, checks, addresses)?;
    before.wait_until_restored(node.dirs())
}

fn is_portmap(kind: &str) -> bool {
    kind == "portmap"
}

/// Dual stack. CHECK is of five, because portmap's looks for the rules of each family in both
/// iptables and ip6tables before version 1.3, and Debian 12 has 1.1.1.
#[test]
fn six_plugins_add_and_delete_both_families() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    let network = Network::new(&configuration(&node)?, dist::cni_path())?;
    let checks = [network.only(|kind| !is_portmap(kind))];
    node.run(|| cycles(&node, &network, &checks, &NODE))
}

/// IPv4 alone: there portmap's CHECK passes if it finds no ip6tables, which firewall insists on.
#[test]
fn six_plugins_add_check_and_delete() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    let mut configuration = configuration(&node)?;
    configuration["plugins"][0]["ipam"] = json!({
        "ranges": [[{ "subnet": "10.217.4.0/24" }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    });
    let network = Network::new(&configuration, dist::cni_path())?;
    let checks =
        [network.only(|kind| !is_portmap(kind)), network.only(is_portmap).variable("PATH", TOOLS)];
    node.run(|| {
        fs::create_dir(TOOLS).with_context(|| format!("create {TOOLS}"))?;
        symlink("/usr/sbin/iptables", Path::new(TOOLS).join("iptables"))
            .context("link iptables")?;
        cycles(&node, &network, &checks, &[NODE_V4.into()])
    })
}
