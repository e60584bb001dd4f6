//! A chain of six: ours, and Debian's portmap, bandwidth, tuning, firewall and sbr behind it.
#![cfg(test)]

use std::{
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, Snapshot, command,
    dist::{self, REFERENCE_PLUGINS},
    example, kernel, missing,
    node::{NODE, NODE_V4, OUTSIDE},
    plugin::{Attachment, Network},
    traffic::{self, Host},
};
use serde_json::{Value, json};

/// Port of the container, and of the node.
const PORTS: (u16, u16) = (80, 8080);
/// What bandwidth limits traffic to the container to, in bits a second and bits.
///
/// Traffic from the container it limits by an ingress qdisc, and the kernel has one place for that and
/// for the clsact qdisc of our programs: that is for networks whose programs are attached by tcx.
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

/// A slow line, in bits a second: what an exchange sends one way takes half a second.
const SLOW: u64 = 4_000_000;
/// What it lets pass at once, in bits.
const BURST: u64 = 400_000;
/// The least that an exchange takes one way on such a line: 2 Mbit, less the burst, less a bit.
const LEAST: Duration = Duration::from_millis(350);
/// Largest packets, in bytes: of the node's uplink, and smaller ones. The node knows nothing of those:
/// datagrams that are larger are lost, as behind every plugin; TCP has its segments.
const MTU: u32 = 1500;
const SMALL_MTU: u32 = 1400;
/// What tuning sets beside a sysctl.
const MAC: &str = "0a:58:0a:00:00:07";

/// The six plugins with all keys, behind programs of tcx and with packets between containers through
/// the host stack.
fn whole(node: &Node, pooled: bool, mtu: u32) -> Result<Network> {
    let mut configuration = configuration(node)?;
    let plugins = &mut configuration["plugins"];
    plugins[0]["hook"] = json!("tcx");
    plugins[0]["localPath"] = json!("stack");
    if pooled {
        plugins[0]["pool"] = json!({ "warm": 1, "maxSlots": 8 });
    }
    plugins[3] = json!({
        "type": "tuning", "sysctl": { "net.core.somaxconn": "512" },
        "mac": MAC, "mtu": mtu, "promisc": true, "allmulti": true,
    });
    Network::new(&configuration, dist::cni_path())
}

/// Limits of what a container receives and of what it sends.
fn limit(attachment: Attachment, ingress: bool, egress: bool) -> Attachment {
    let mut limit = json!({});
    for (name, wanted) in [("ingress", ingress), ("egress", egress)] {
        if wanted {
            limit[format!("{name}Rate")] = json!(SLOW);
            limit[format!("{name}Burst")] = json!(BURST);
        }
    }
    attachment.capability("bandwidth", limit)
}

/// Bandwidth in each direction, to and from the outside and another container of the node.
#[test]
fn bandwidth_limits_both_directions() -> Result<()> {
    if skipped() || kernel::lacks_tcx() {
        return Ok(());
    }
    for (ingress, egress, pooled) in
        [(true, false, false), (false, true, false), (true, true, false), (true, true, true)]
    {
        let node = Node::new()?;
        let network = whole(&node, pooled, MTU)?.only(|kind| kind != "sbr");
        node.run(|| {
            let limited =
                Container::add_with(&network, "limited", |ask| limit(ask, ingress, egress))?;
            let free = Container::add(&network, "free")?;
            let (inside, beside, outside) = (limited.host()?, free.host()?, node.outside_host()?);
            for (peer, at) in [(&outside, OUTSIDE.to_vec()), (&beside, free.addresses()?)] {
                for at in at {
                    let began = Instant::now();
                    traffic::tcp(&inside, peer, at)?;
                    let took = began.elapsed();
                    println!(
                        "ingress {ingress}, egress {egress}, pooled {pooled}: {} took {took:?}",
                        peer.name()
                    );
                    ensure!(took > LEAST, "{took:?} to {at}: nothing limits it");
                }
            }
            limited.remove()?;
            free.remove()
        })?;
    }
    Ok(())
}

/// Every key of tuning; the address that it gives works in both directions, also before the container
/// has sent anything.
#[test]
fn tuning_changes_what_it_can_and_the_network_goes_on() -> Result<()> {
    if skipped() || kernel::lacks_tcx() {
        return Ok(());
    }
    for (pooled, mtu) in [(false, MTU), (true, MTU), (false, SMALL_MTU)] {
        let node = Node::new()?;
        let six = whole(&node, pooled, mtu)?;
        let network = six.only(|kind| kind != "sbr");
        let checks = six.only(|kind| !is_portmap(kind));
        node.run(|| {
            // Without a limit the CHECK of bandwidth 1.1.1 crashes.
            let tuned = Container::add_with(&network, "tuned", |attachment| {
                let (rate, burst) = (RATE, RATE);
                let both = json!({
                    "ingressRate": rate, "ingressBurst": burst,
                    "egressRate": rate, "egressBurst": burst,
                });
                attachment.capability("bandwidth", both)
            })?;
            let plain = network.only(|kind| kind != "tuning");
            let other = Container::add(&plain, "other")?;
            let (inside, here) = (tuned.host()?, Host::here("node")?);
            let link = inside.run(|| command::run("ip", ["-details", "link", "show", "eth0"]))?;
            for wanted in [MAC, &format!("mtu {mtu}"), "PROMISC", "ALLMULTI"] {
                ensure!(link.contains(wanted), "no {wanted} in\n{link}");
            }
            let outside = node.outside_host()?;
            for address in tuned.addresses()? {
                traffic::tcp(&here, &inside, address)?;
                traffic::tcp(&other.host()?, &inside, address)?;
            }
            if mtu == MTU {
                traffic::all(&here, &inside, &tuned.addresses()?)?;
                traffic::all(&other.host()?, &inside, &tuned.addresses()?)?;
                traffic::all(&inside, &other.host()?, &other.addresses()?)?;
            }
            for address in OUTSIDE {
                traffic::tcp(&inside, &outside, address)?;
            }
            tuned.check_by(&checks.only(|kind| kind != "sbr"))?;
            // sbr leaves the main table without a default route: only answers find their way.
            let routed = Container::add_with(&six, "routed", ask)?;
            mapped_port_answers(&node, &routed, &NODE)?;
            routed.check_by(&checks)?;
            routed.remove()?;
            tuned.remove()?;
            other.remove()
        })?;
    }
    Ok(())
}
