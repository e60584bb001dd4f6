//! What one user of a slot leaves, the next does not find: its namespace is like a new one in all
//! that tools can show, or it is another slot's.
#![cfg(test)]

mod dump;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Pooled, command, missing,
    traffic::{Host, TcpServer},
    web::{BUSYBOX, Server},
    with_pool,
};
use serde_json::json;

use dump::{Dump, difference, dump};

/// What becomes of the slot that a container left something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is brought back.
    Repaired,
    /// It is brought back, or deleted.
    Either,
}

/// Something that a user leaves; what it returns is kept until DEL has returned.
type Leave<'a> = &'a (dyn Fn(&Host) -> Result<Kept> + Sync);

/// What ends with the user, after DEL.
#[derive(Default)]
struct Kept {
    processes: Vec<Process>,
    listeners: Vec<TcpListener>,
    server: Option<Server>,
}

/// A process of the container's. Dropping it kills it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a process is left: {error}");
        }
    }
}

/// Whether a tool is missing that shows or changes namespaces; if so, says which.
fn skipped() -> bool {
    missing(["/usr/sbin/sysctl", "/usr/sbin/iptables-nft", "/usr/sbin/nft", "/usr/bin/ss"])
}

/// One function after another uses the slot that `leave` was done in, with an agent and without.
fn next_user_finds_nothing(leave: Leave<'_>, fate: Fate) -> Result<()> {
    if skipped() {
        return Ok(());
    }
    for agent in [true, false] {
        with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
            let agent = if agent { Some(pooled.agent()?) } else { None };
            succeed(pooled, leave, fate, agent.is_some())?;
            agent.map_or(Ok(()), repoint_tests::Agent::stop)
        })?;
    }
    Ok(())
}

fn succeed(pooled: &Pooled<'_>, leave: Leave<'_>, fate: Fate, has_agent: bool) -> Result<()> {
    let container = pooled.add_function("resize")?;
    let (slot, inside) = (pooled.slot_of(&container)?, container.host()?);
    let fresh = dump(&inside, &slot)?;
    let kept = leave(&inside)?;
    let left = dump(&inside, &slot)?;
    println!("left in slot {}:\n{}", slot.slot, difference(&fresh, &left));
    let in_use = !(kept.processes.is_empty() && kept.listeners.is_empty() && kept.server.is_none());
    container.remove()?;
    if in_use {
        pooled.wait_for_slot(&slot.slot, &["dirty"])?;
        is_like_new(pooled, &fresh)?;
    }
    drop(kept);
    if in_use && !has_agent {
        // Nobody looks any more, until there is an agent.
        let agent = pooled.agent()?;
        pooled.wait_for_slot(&slot.slot, &["parked", "gone"])?;
        agent.stop()?;
    }
    let state = pooled.wait_for_slot(&slot.slot, &["parked", "gone"])?;
    println!("slot {} is {state}", slot.slot);
    ensure!(fate == Fate::Either || state == "parked", "the slot is {state}");
    is_like_new(pooled, &fresh)
}

/// Starts the function again, looks at its namespace, and stops it.
fn is_like_new(pooled: &Pooled<'_>, fresh: &Dump) -> Result<()> {
    let next: Container<'_> = pooled.add_function("resize")?;
    let slot = pooled.slot_of(&next)?;
    let found = dump(&next.host()?, &slot)?;
    let difference = difference(fresh, &found);
    ensure!(difference.is_empty(), "in slot {}:\n{difference}", slot.slot);
    next.check()?;
    next.remove()
}

fn shell(inside: &Host, script: &str) -> Result<Kept> {
    inside.run(|| command::run("sh", ["-ec", script]))?;
    Ok(Kept::default())
}

const NFT: &str = "nft add table inet left
    nft add chain inet left input '{ type filter hook input priority 0; policy drop; }'
    nft add rule inet left input tcp dport 80 counter accept
    nft add table netdev left
    nft add set ip6 nat left '{ type ipv6_addr; }' 2>/dev/null || nft add table ip6 left";
const IPTABLES: &str = "iptables-nft -A INPUT -p tcp --dport 22 -j DROP
    iptables-nft -t nat -A POSTROUTING -j MASQUERADE
    ip6tables-nft -P FORWARD DROP";
const ADDRESS: &str = "ip address add 192.0.2.9/24 dev eth0
    ip address add 2001:db8:9::9/64 dev eth0 nodad
    ip address add 192.0.2.10/32 dev lo";
const ROUTES: &str = "ip route replace default via 169.254.1.1 dev eth0 onlink mtu 1300
    ip route add 203.0.113.0/24 dev eth0
    ip route add blackhole 198.18.0.0/15
    ip -6 route add unreachable 2001:db8:7::/48
    ip route del 10.217.9.0/24
    ip route add default dev eth0 table 77
    ip rule add from 192.0.2.9 lookup 77 priority 100
    ip -6 rule add to 2001:db8::/32 blackhole priority 100
    ip neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
    ip neighbour replace 169.254.1.1 lladdr 02:00:00:00:00:02 dev eth0 nud permanent";
const SYSCTLS: &str = "sysctl -qw net.ipv4.tcp_fin_timeout=11 net.ipv4.ip_forward=1 \
    net.ipv4.ip_local_port_range='2000 3000' net.ipv4.conf.eth0.rp_filter=2 \
    net.core.somaxconn=77 net.ipv6.conf.eth0.accept_ra=0 net.ipv6.conf.all.forwarding=1";
const LOOPBACK_DOWN: &str = "ip link set lo down";

#[test]
fn nothing_left_is_nothing_found() -> Result<()> {
    next_user_finds_nothing(&|_| Ok(Kept::default()), Fate::Repaired)
}

#[test]
fn rules_of_nftables() -> Result<()> {
    next_user_finds_nothing(&|inside| shell(inside, NFT), Fate::Repaired)
}

#[test]
fn rules_of_iptables() -> Result<()> {
    next_user_finds_nothing(&|inside| shell(inside, IPTABLES), Fate::Repaired)
}

/// The kernel has no way to remove a table of these.
#[test]
fn rules_of_legacy_iptables() -> Result<()> {
    let legacy = "iptables-legacy -A INPUT -p tcp --dport 22 -j DROP || true";
    next_user_finds_nothing(&|inside| shell(inside, legacy), Fate::Either)
}

#[test]
fn extra_addresses() -> Result<()> {
    next_user_finds_nothing(&|inside| shell(inside, ADDRESS), Fate::Repaired)
}

#[test]
fn lost_addresses() -> Result<()> {
    let script = "ip address flush dev eth0; ip address flush dev lo";
    next_user_finds_nothing(&|inside| shell(inside, script), Fate::Repaired)
}

#[test]
fn changed_routes_rules_and_neighbours() -> Result<()> {
    next_user_finds_nothing(&|inside| shell(inside, ROUTES), Fate::Repaired)
}

#[test]
fn changed_sysctls() -> Result<()> {
    next_user_finds_nothing(&|inside| shell(inside, SYSCTLS), Fate::Repaired)
}

/// The loopback plugin's DEL does this.
#[test]
fn lo_down() -> Result<()> {
    next_user_finds_nothing(&|inside| shell(inside, LOOPBACK_DOWN), Fate::Repaired)
}

#[test]
fn the_interface_down() -> Result<()> {
    next_user_finds_nothing(&|inside| shell(inside, "ip link set eth0 down"), Fate::Repaired)
}

#[test]
fn a_changed_interface() -> Result<()> {
    let script = "ip link set eth0 down
        ip link set eth0 address 02:00:00:00:00:99 mtu 1400 txqueuelen 7 name wan
        ip link set wan promisc on alias left
        ip link set wan up";
    next_user_finds_nothing(&|inside| shell(inside, script), Fate::Either)
}

#[test]
fn another_interface() -> Result<()> {
    let script = "ip link add left0 type veth peer left1; ip link set left0 up";
    next_user_finds_nothing(&|inside| shell(inside, script), Fate::Either)
}

#[test]
fn the_interface_gone() -> Result<()> {
    next_user_finds_nothing(&|inside| shell(inside, "ip link del eth0"), Fate::Either)
}

#[test]
fn a_queueing_discipline_and_a_filter() -> Result<()> {
    let script = "tc qdisc replace dev eth0 root tbf rate 1mbit burst 10k latency 50ms
        tc qdisc add dev eth0 clsact";
    next_user_finds_nothing(&|inside| shell(inside, script), Fate::Either)
}

/// A socket without a process in the namespace: a descriptor that was passed on.
#[test]
fn a_listening_socket() -> Result<()> {
    next_user_finds_nothing(&listening_socket, Fate::Repaired)
}

fn listening_socket(inside: &Host) -> Result<Kept> {
    let listener = inside.run(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))?))?;
    Ok(Kept { listeners: vec![listener], ..Kept::default() })
}

#[test]
fn connections_in_time_wait() -> Result<()> {
    next_user_finds_nothing(&connections_that_end, Fate::Repaired)
}

/// Connections over `lo` and with the node, closed on this side first.
fn connections_that_end(inside: &Host) -> Result<Kept> {
    let node = Host::here("node")?;
    for host in [inside, &node] {
        let address: SocketAddr = match host.name() {
            "node" => (repoint_tests::node::NODE_V4, 0).into(),
            _ => (Ipv4Addr::LOCALHOST, 0).into(),
        };
        let server: TcpServer<'_> = host.listen(address)?;
        for _ in 0..3 {
            server.exchange(inside, server.address()?)?;
        }
    }
    let found = inside.run(|| command::run("ss", ["-Htan", "state", "time-wait"]))?;
    ensure!(!found.is_empty(), "no connection is in TIME_WAIT");
    Ok(Kept::default())
}

/// A connection that was closed while the other side does not answer: nobody owns it.
#[test]
fn connections_that_nobody_owns() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let leave = |inside: &Host| {
        let node = Host::here("node")?;
        let server = node.run(|| Ok(TcpListener::bind((repoint_tests::node::NODE_V4, 0))?))?;
        let target = server.local_addr()?;
        let stream = inside.run(|| Ok(TcpStream::connect(target)?))?;
        // It is accepted by the kernel and never closed there.
        drop(stream);
        let found = inside.run(|| command::run("ss", ["-Htan", "state", "all"]))?;
        ensure!(found.contains("FIN-WAIT"), "no connection is in FIN_WAIT:\n{found}");
        Ok(Kept { listeners: vec![server], ..Kept::default() })
    };
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let container = pooled.add_function("resize")?;
        let (slot, inside) = (pooled.slot_of(&container)?, container.host()?);
        let fresh = dump(&inside, &slot)?;
        // The listener is the node's, and stays.
        let _server = leave(&inside)?;
        container.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        is_like_new(pooled, &fresh)
    })
}

#[test]
fn a_lingering_process() -> Result<()> {
    next_user_finds_nothing(&lingering_process, Fate::Repaired)
}

fn lingering_process(inside: &Host) -> Result<Kept> {
    let sleep = || {
        let mut sleep = Command::new(BUSYBOX);
        sleep.args(["sleep", "1000"]).stdin(Stdio::null());
        sleep.spawn().context("start busybox sleep")
    };
    Ok(Kept { processes: vec![Process(inside.run(sleep)?)], ..Kept::default() })
}

/// CRI-O takes the network away first, and stops the containers then.
#[test]
fn a_server_that_is_stopped_after_del() -> Result<()> {
    let leave =
        |inside: &Host| Ok(Kept { server: Some(Server::start(inside)?), ..Kept::default() });
    next_user_finds_nothing(&leave, Fate::Repaired)
}

#[test]
fn all_of_it_together() -> Result<()> {
    let leave = |inside: &Host| {
        connections_that_end(inside)?;
        let mut kept = listening_socket(inside)?;
        kept.processes.append(&mut lingering_process(inside)?.processes);
        for script in [NFT, IPTABLES, ADDRESS, ROUTES, SYSCTLS, LOOPBACK_DOWN] {
            shell(inside, script)?;
        }
        Ok(kept)
    };
    next_user_finds_nothing(&leave, Fate::Repaired)
}

/// What a privileged container mounts elsewhere keeps its namespace alive.
#[test]
fn a_mount_of_the_namespace_elsewhere_keeps_the_slot_from_others() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        let agent = pooled.agent()?;
        let container = pooled.add_function("resize")?;
        let slot = pooled.slot_of(&container)?;
        let elsewhere = Path::new("/run/elsewhere");
        fs::write(elsewhere, "")?;
        let (from, to) = (container.netns().path().to_string_lossy(), elsewhere.to_string_lossy());
        command::run("mount", ["--bind", &from, &to])?;
        container.remove()?;
        pooled.wait_for_slot(&slot.slot, &["dirty"])?;
        let next = pooled.add_function("resize")?;
        ensure!(pooled.slot_of(&next)?.slot != slot.slot, "it was given out while it was mounted");
        next.remove()?;
        command::run("umount", [&*to])?;
        fs::remove_file(elsewhere)?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        agent.stop()
    })
}

/// The dumps show what is done: a comparison that finds nothing would prove nothing.
#[test]
fn the_comparison_sees_each_of_these() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let container = pooled.add()?;
        let (slot, inside) = (pooled.slot_of(&container)?, container.host()?);
        for script in [NFT, IPTABLES, ADDRESS, ROUTES, SYSCTLS, LOOPBACK_DOWN] {
            let before = dump(&inside, &slot)?;
            shell(&inside, script)?;
            let seen = difference(&before, &dump(&inside, &slot)?);
            ensure!(!seen.is_empty(), "not seen: {script}");
        }
        let before = dump(&inside, &slot)?;
        let kept = listening_socket(&inside)?;
        let seen = difference(&before, &dump(&inside, &slot)?);
        ensure!(seen.contains(":80"), "a listening socket is not seen:\n{seen}");
        drop(kept);
        container.remove()
    })
}
