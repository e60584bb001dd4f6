//! Service addresses and mapped ports of a node, behind which is a container of the same node: the host
//! stack translates addresses, and must see the answers.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
};

use anyhow::{Context as _, Result, ensure};
use repoint_common::LAYOUT_VERSION;

use crate::{
    Container, Node, command,
    networks::{POOLED, network, pool},
    node::NODE,
    sctp,
    traffic::{self, Host, TcpServer},
    web::BUSYBOX,
};

/// Addresses of a service.
const SERVICE: [&str; 2] = ["10.96.0.10", "fd00:96::10"];
/// The service's port, the container's, and one of the container's where nobody listens.
const PORT: u16 = 80;
const TARGET: u16 = 8080;
const CLOSED: u16 = 81;

/// Rules that send what is for the service, and for the same ports of the node, to a container.
#[derive(Debug, Clone, Copy)]
pub enum Rules {
    /// As kube-proxy's mode nftables writes them.
    Nftables,
    /// As its mode iptables does, and as portmap does.
    Iptables,
    /// As its mode ipvs does: virtual servers that translate (NAT), and service addresses on an interface
    /// that is down.
    Ipvs,
}

impl Rules {
    /// Puts the rules of these protocols in place.
    fn add(self, protocols: &[&str], to: &[IpAddr]) -> Result<()> {
        self.prepare()?;
        for ((service, node), to) in SERVICE.iter().zip(NODE).zip(to) {
            let mut rules = Vec::new();
            for protocol in protocols {
                for (port, target) in [(PORT, TARGET), (CLOSED, CLOSED)] {
                    let target = SocketAddr::new(*to, target).to_string();
                    for address in [service.parse()?, node] {
                        rules.push(self.map(protocol, SocketAddr::new(address, port), &target));
                    }
                }
            }
            rules.extend(self.map_all(service, to));
            let rules = rules.join("\n") + "\n";
            let hairpin = self.masquerade_hairpin(to);
            match self {
                Self::Nftables => nft(&(rules + &hairpin))?,
                Self::Iptables => iptables(family(service), &(rules + &hairpin))?,
                Self::Ipvs => {
                    command::run_with_input("ipvsadm", ["--restore"], rules.as_bytes())?;
                    nft(&hairpin)?;
                }
            }
        }
        Ok(())
    }

    /// What the rules need before the first of them.
    fn prepare(self) -> Result<()> {
        match self {
            Self::Iptables => return Ok(()),
            Self::Nftables => {}
            Self::Ipvs => {
                command::run("ip", ["link", "add", "kube-ipvs0", "type", "dummy"])?;
                for address in SERVICE {
                    let add = ["address", "add", address, "dev", "kube-ipvs0"];
                    let nodad = address.contains(':').then_some("nodad");
                    command::run("ip", add.into_iter().chain(nodad))?;
                }
                let path = "/proc/sys/net/ipv4/vs/conntrack";
                fs::write(path, "1").with_context(|| format!("write {path}"))?;
            }
        }
        nft("add table inet services
             add chain inet services before { type nat hook prerouting priority dstnat ; }
             add chain inet services after { type nat hook postrouting priority srcnat ; }")
    }

    /// One port.
    fn map(self, protocol: &str, from: SocketAddr, target: &str) -> String {
        let (address, port) = (from.ip(), from.port());
        match self {
            Self::Nftables => {
                let family = family(&address.to_string());
                format!(
                    "add rule inet services before {family} daddr {address} {protocol} dport {port} \
                     dnat {family} to {target}"
                )
            }
            Self::Iptables => format!(
                "-A PREROUTING -d {address} -p {protocol} --dport {port} -j DNAT --to-destination {target}"
            ),
            Self::Ipvs => format!(
                "-A --{protocol}-service {from} -s rr\n-a --{protocol}-service {from} -r {target} -m"
            ),
        }
    }

    /// What has no port: echo requests. Where the service's addresses are the node's own, the node answers.
    fn map_all(self, service: &str, to: &IpAddr) -> Option<String> {
        let family = family(service);
        match self {
            Self::Nftables => Some(format!(
                "add rule inet services before {family} daddr {service} dnat {family} to {to}"
            )),
            Self::Iptables => {
                Some(format!("-A PREROUTING -d {service} -j DNAT --to-destination {to}"))
            }
            Self::Ipvs => None,
        }
    }

    /// What a container sends to itself comes from the node, so that it answers to the node.
    fn masquerade_hairpin(self, to: &IpAddr) -> String {
        let family = family(&to.to_string());
        match self {
            Self::Nftables | Self::Ipvs => format!(
                "add rule inet services after {family} saddr {to} {family} daddr {to} masquerade\n"
            ),
            Self::Iptables => format!("-A POSTROUTING -s {to} -d {to} -j MASQUERADE\n"),
        }
    }
}

/// What nftables calls an address's family.
fn family(address: &str) -> &'static str {
    if address.contains(':') { "ip6" } else { "ip" }
}

fn nft(rules: &str) -> Result<()> {
    command::run_with_input("nft", ["-f", "-"], rules.as_bytes()).map(drop)
}

fn iptables(family: &str, rules: &str) -> Result<()> {
    let command = format!("{family}tables-restore");
    let table = format!("*nat\n{rules}COMMIT\n");
    command::run_with_input(&command, ["-w", "--noflush"], table.as_bytes()).map(drop)
}

/// Elements of the map of flows.
pub fn flows(node: &Node) -> Result<usize> {
    let path = node.dirs().bpf.join(format!("v{LAYOUT_VERSION}")).join("stack_flows");
    let dump = command::run("bpftool", ["-j", "map", "dump", "pinned", &path.to_string_lossy()])?;
    let elements: Vec<serde_json::Value> = serde_json::from_str(&dump)?;
    Ok(elements.len())
}

/// What answers in the service's container, for as long as it runs.
struct Server<'a> {
    tcp: TcpServer<'a>,
    udp: UdpSocket,
}

impl<'a> Server<'a> {
    fn start(host: &'a Host) -> Result<Self> {
        let any = (Ipv6Addr::UNSPECIFIED, TARGET);
        Ok(Self { tcp: host.listen(any)?, udp: host.bind_udp(any.into())? })
    }
}

/// All ways to a service that a container has by TCP, UDP and ICMP.
fn is_answered(client: &Host, server: &Server<'_>) -> Result<()> {
    for address in SERVICE {
        let address: IpAddr = address.parse()?;
        server.tcp.exchange(client, SocketAddr::new(address, PORT))?;
        traffic::udp_by(client, &server.udp, SocketAddr::new(address, PORT))?;
        // Errors are about packets as the service's container saw them.
        traffic::udp_is_refused(client, SocketAddr::new(address, CLOSED))?;
        let ping = ["ping", "-c", "1", "-W", "5", &address.to_string()];
        client.run(|| command::run(BUSYBOX, ping).map(drop)).context("ping")?;
    }
    for address in NODE {
        server.tcp.exchange(client, SocketAddr::new(address, PORT))?;
        traffic::udp_by(client, &server.udp, SocketAddr::new(address, PORT))?;
    }
    Ok(())
}

/// The same by SCTP.
fn is_answered_by_sctp(client: &Host, server: &Host, to: &[IpAddr]) -> Result<()> {
    for ((service, node), to) in SERVICE.into_iter().zip(NODE).zip(to) {
        let listening = sctp::Server::start(server, SocketAddr::new(*to, TARGET))?;
        for address in [service.parse()?, node] {
            listening.exchange(client, SocketAddr::new(address, PORT))?;
        }
    }
    Ok(())
}

/// Fails unless a service by such rules answers containers of the same node: one of the same network, one
/// of another network, and the service's container itself.
///
/// The protocols are tcp and udp, or sctp, or all three.
pub fn answers(rules: Rules, protocols: &[&str]) -> Result<()> {
    POOLED.into_iter().try_for_each(|pooled| answers_where(rules, protocols, pooled))
}

fn answers_where(rules: Rules, protocols: &[&str], pooled: bool) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let one = network(&node, "one", 7, |configuration| pool(configuration, pooled))?;
        let two = network(&node, "two", 8, |configuration| pool(configuration, pooled))?;
        let server = Container::add(&one, "server")?;
        let (same, other) = (Container::add(&one, "same")?, Container::add(&two, "other")?);
        let (inside, to) = (server.host()?, server.addresses()?);
        rules.add(protocols, &to)?;
        ensure!(flows(&node)? == 0, "flows that nobody had");
        let listening = Server::start(&inside)?;
        for client in [&same, &other, &server] {
            println!("{rules:?}, pooled {pooled}, {}", client.attachment().container_id);
            let host = client.host()?;
            if protocols.contains(&"sctp") {
                is_answered_by_sctp(&host, &inside, &to)?;
            }
            if protocols.contains(&"tcp") {
                is_answered(&host, &listening)?;
                // A container's way to itself is its own `lo`, which is down.
                if client.addresses()? == to {
                    continue;
                }
                // The short way is still there, and the service goes on after it.
                traffic::all(&host, &inside, &to)?;
                traffic::all(&inside, &host, &client.addresses()?)?;
                is_answered(&host, &listening)?;
            }
        }
        ensure!(flows(&node)? > 0, "no flow is remembered");
        for container in [server, same, other] {
            container.check()?;
            container.remove()?;
        }
        Ok(())
    })
}
