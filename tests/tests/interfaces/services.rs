//! Service addresses and mapped ports of the node, behind which is a container of the same node: the host
//! stack translates addresses, and must see the answers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use repoint_common::LAYOUT_VERSION;
use repoint_tests::{
    Container, Node, command,
    node::NODE,
    traffic::{self, Host},
    web::BUSYBOX,
};

use super::{POOLED, network, pool, skipped};

/// Addresses of a service, which no interface has.
const SERVICE: [&str; 2] = ["10.96.0.10", "fd00:96::10"];
/// The service's port, the container's, and one of the container's where nobody listens.
const PORT: u16 = 80;
const TARGET: u16 = 8080;
const CLOSED: u16 = 81;

/// Rules that send what is for the service, and for the same ports of the node, to a container.
#[derive(Debug, Clone, Copy)]
enum Rules {
    /// As kube-proxy's mode nftables writes them.
    Nftables,
    /// As its mode iptables does, and as portmap does.
    Iptables,
}

impl Rules {
    fn add(self, to: &[IpAddr]) -> Result<()> {
        for ((service, node), to) in SERVICE.iter().zip(NODE).zip(to) {
            for protocol in ["tcp", "udp"] {
                for (port, target) in [(PORT, TARGET), (CLOSED, CLOSED)] {
                    let target = SocketAddr::new(*to, target).to_string();
                    for address in [(*service).to_owned(), node.to_string()] {
                        self.map(protocol, &address, port, &target)?;
                    }
                }
            }
            self.map_all(service, to)?;
        }
        Ok(())
    }

    /// One port.
    fn map(self, protocol: &str, address: &str, port: u16, target: &str) -> Result<()> {
        let is_ipv6 = address.contains(':');
        match self {
            Self::Nftables => {
                let family = if is_ipv6 { "ip6" } else { "ip" };
                nft(&format!(
                    "add rule inet services before {family} daddr {address} {protocol} dport {port} \
                     dnat {family} to {target}"
                ))
            }
            Self::Iptables => iptables(
                is_ipv6,
                &format!(
                    "-A PREROUTING -d {address} -p {protocol} --dport {port} -j DNAT --to-destination {target}"
                ),
            ),
        }
    }

    /// What has no port: echo requests.
    fn map_all(self, service: &str, to: &IpAddr) -> Result<()> {
        match self {
            Self::Nftables => {
                let family = if to.is_ipv6() { "ip6" } else { "ip" };
                nft(&format!(
                    "add rule inet services before {family} daddr {service} dnat {family} to {to}"
                ))
            }
            Self::Iptables => iptables(
                to.is_ipv6(),
                &format!("-A PREROUTING -d {service} -j DNAT --to-destination {to}"),
            ),
        }
    }
}

fn nft(rule: &str) -> Result<()> {
    command::run("nft", [rule]).map(drop)
}

fn iptables(is_ipv6: bool, rule: &str) -> Result<()> {
    let command = if is_ipv6 { "ip6tables" } else { "iptables" };
    command::run(command, ["-w", "-t", "nat"].into_iter().chain(rule.split(' '))).map(drop)
}

/// Elements of the map of flows.
fn flows(node: &Node) -> Result<usize> {
    let path = node.dirs().bpf.join(format!("v{LAYOUT_VERSION}")).join("stack_flows");
    let dump = command::run("bpftool", ["-j", "map", "dump", "pinned", &path.to_string_lossy()])?;
    let elements: Vec<serde_json::Value> = serde_json::from_str(&dump)?;
    Ok(elements.len())
}

/// All ways to a service that a container has.
fn service_answers(client: &Host, server: &Host) -> Result<()> {
    let listening = server.listen((Ipv6Addr::UNSPECIFIED, TARGET))?;
    let bound = server.bind_udp((Ipv6Addr::UNSPECIFIED, TARGET).into())?;
    for address in SERVICE {
        let address: IpAddr = address.parse()?;
        listening.exchange(client, SocketAddr::new(address, PORT))?;
        traffic::udp_by(client, &bound, SocketAddr::new(address, PORT))?;
        // Errors are about packets as the service's container saw them.
        traffic::udp_is_refused(client, SocketAddr::new(address, CLOSED))?;
        let ping = ["ping", "-c", "2", "-W", "5", &address.to_string()];
        client.run(|| command::run(BUSYBOX, ping).map(drop)).context("ping")?;
    }
    for address in NODE {
        listening.exchange(client, SocketAddr::new(address, PORT))?;
        traffic::udp_by(client, &bound, SocketAddr::new(address, PORT))?;
    }
    Ok(())
}

fn behind(rules: Rules) -> Result<()> {
    if skipped() {
        return Ok(());
    }
    for pooled in POOLED {
        let node = Node::new()?;
        node.run(|| {
            let one = network(&node, "one", 7, |configuration| pool(configuration, pooled))?;
            let two = network(&node, "two", 8, |configuration| pool(configuration, pooled))?;
            let server = Container::add(&one, "server")?;
            let (same, other) = (Container::add(&one, "same")?, Container::add(&two, "other")?);
            if matches!(rules, Rules::Nftables) {
                nft("add table inet services")?;
                nft(
                    "add chain inet services before { type nat hook prerouting priority dstnat ; }",
                )?;
            }
            rules.add(&server.addresses()?)?;
            let inside = server.host()?;
            ensure!(flows(&node)? == 0, "flows that nobody had");
            for client in [&same, &other] {
                println!("{rules:?}, pooled {pooled}, {}", client.attachment().container_id);
                let host = client.host()?;
                service_answers(&host, &inside)?;
                // The short way is still there, and the service goes on after it.
                traffic::all(&host, &inside, &server.addresses()?)?;
                traffic::all(&inside, &host, &client.addresses()?)?;
                service_answers(&host, &inside)?;
            }
            ensure!(flows(&node)? > 0, "no flow is remembered");
            for container in [server, same, other] {
                container.check()?;
                container.remove()?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_service_of_nftables_answers_containers_of_the_same_node() -> Result<()> {
    behind(Rules::Nftables)
}

#[test]
fn a_service_of_iptables_answers_containers_of_the_same_node() -> Result<()> {
    behind(Rules::Iptables)
}

/// A node without such translations remembers no flow, and has no answer looked up.
#[test]
fn a_node_without_translations_remembers_nothing() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "one", 7, |_| ())?;
        let (one, two) = (Container::add(&network, "one")?, Container::add(&network, "two")?);
        let (outside, here) = (node.outside_host()?, Host::here("node")?);
        traffic::all(&one.host()?, &two.host()?, &two.addresses()?)?;
        traffic::all(&here, &one.host()?, &one.addresses()?)?;
        for address in repoint_tests::node::OUTSIDE {
            traffic::tcp(&one.host()?, &outside, address)?;
        }
        ensure!(flows(&node)? == 0, "flows are remembered");
        one.remove()?;
        two.remove()
    })
}
