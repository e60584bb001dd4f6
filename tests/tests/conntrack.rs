//! Tracked connections of the node are deleted by address, and no others.
#![cfg(test)]

use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint::{
    netlink::{
        Request, UntypedMessage, UntypedSocket, forget_connections_of, open_netfilter_untyped,
    },
    netns::Netns as Namespace,
};
use repoint_tests::{
    Netns, Node, command,
    node::{NODE_V4, OUTSIDE_V4, UPLINK},
    wait,
};

/// All namespaces share one table, whose entries every pass walks; one test measures that.
static TABLE: Mutex<()> = Mutex::new(());

const NESTED: u16 = 0x8000;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`
const NEW: u16 = 1 << 8;
/// `NLM_F_CREATE | NLM_F_EXCL`
const CREATE: u16 = 0x400 | 0x200;
/// Entries of others in the test of time and memory.
const FOREIGN: u32 = 200_000;

/// An entry: addresses of the first packet and of an answer, a port that makes it unique, a zone.
#[derive(Clone, Copy)]
struct Entry {
    original: [IpAddr; 2],
    reply: [IpAddr; 2],
    port: u16,
    zone: Option<u16>,
}

impl Entry {
    fn new(original: [&str; 2], reply: [&str; 2], port: u16) -> Result<Self> {
        let parse =
            |[one, other]: [&str; 2]| Ok::<_, anyhow::Error>([one.parse()?, other.parse()?]);
        Ok(Self { original: parse(original)?, reply: parse(reply)?, port, zone: None })
    }

    fn request(&self) -> Request<UntypedMessage> {
        let family = if self.original[0].is_ipv4() { 2 } else { 10 };
        let mut message = UntypedMessage::new(NEW, &[family, 0, 0, 0])
            .attribute(NESTED | 1, &tuple(self.original, self.port))
            .attribute(NESTED | 2, &tuple(self.reply, self.port))
            // CTA_TIMEOUT, seconds.
            .attribute(7, &600_u32.to_be_bytes());
        if let Some(zone) = self.zone {
            message = message.attribute(18, &zone.to_be_bytes());
        }
        Request::new("track a connection", message, CREATE)
    }
}

/// Attributes of a UDP tuple.
fn tuple([source, destination]: [IpAddr; 2], port: u16) -> Vec<u8> {
    let none = || UntypedMessage::new(0, &[]);
    let (first, octets): (u16, fn(IpAddr) -> Vec<u8>) = if source.is_ipv4() {
        (1, |address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(_) => Vec::new(),
        })
    } else {
        (3, |address| match address {
            IpAddr::V6(address) => address.octets().to_vec(),
            IpAddr::V4(_) => Vec::new(),
        })
    };
    let ip = none().attribute(first, &octets(source)).attribute(first + 1, &octets(destination));
    let ports = none()
        .attribute(1, &[17])
        .attribute(2, &port.to_be_bytes())
        .attribute(3, &53_u16.to_be_bytes());
    let both = none().attribute(NESTED | 1, &ip.payload).attribute(NESTED | 2, &ports.payload);
    both.payload
}

fn track(socket: &mut UntypedSocket, entries: &[Entry]) -> Result<()> {
    for some in entries.chunks(64) {
        socket.execute(some.iter().map(Entry::request).collect())?;
    }
    Ok(())
}

fn count() -> Result<usize> {
    Ok(fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")?.trim().parse()?)
}

fn set<const N: usize>(addresses: [&str; N]) -> Result<HashSet<IpAddr>> {
    addresses.into_iter().map(|address| Ok(address.parse()?)).collect()
}

/// Runs a test in a namespace of its own, alone.
fn alone<T>(test: impl FnOnce(&mut UntypedSocket) -> Result<T>) -> Result<T> {
    let _alone = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    Namespace::create()?.run(|| test(&mut open_netfilter_untyped()?))?
}

#[test]
fn where_nothing_is_tracked_nothing_is_deleted() -> Result<()> {
    alone(|_| {
        ensure!(forget_connections_of(&set(["10.0.0.1"])?)? == 0);
        ensure!(forget_connections_of(&HashSet::new())? == 0);
        Ok(())
    })
}

/// Entries with an address in each of the four places, in a zone too, and one without it.
fn entries() -> Result<[Entry; 6]> {
    let others = ["192.0.2.1", "192.0.2.2"];
    let mut zoned = Entry::new(["10.0.0.1", "192.0.2.7"], ["192.0.2.7", "10.0.0.1"], 5)?;
    zoned.zone = Some(7);
    Ok([
        Entry::new(["10.0.0.1", "192.0.2.3"], others, 1)?,
        Entry::new(["192.0.2.3", "10.0.0.1"], others, 2)?,
        Entry::new(others, ["10.0.0.1", "192.0.2.3"], 3)?,
        Entry::new(others, ["192.0.2.3", "10.0.0.1"], 4)?,
        zoned,
        Entry::new(["10.0.0.2", "192.0.2.3"], ["192.0.2.3", "10.0.0.2"], 6)?,
    ])
}

#[test]
fn an_entry_goes_wherever_the_address_is_and_others_stay() -> Result<()> {
    // One is asked for by the kernel's filters, many are looked for in all entries.
    for addresses in [set(["10.0.0.1"])?, set(["10.0.0.1", "10.9.9.1", "10.9.9.2", "10.9.9.3"])?] {
        alone(|socket| {
            track(socket, &entries()?)?;
            ensure!(count()? == 6, "{}", count()?);
            let deleted = forget_connections_of(&addresses)?;
            ensure!(deleted == 5 && count()? == 1, "{deleted} deleted, {} left", count()?);
            ensure!(forget_connections_of(&addresses)? == 0);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn each_family_is_found_alone_and_with_the_other() -> Result<()> {
    alone(|socket| {
        let entry = |address, peer, port| Entry::new([address, peer], [peer, address], port);
        let (v4, v6) = (["10.0.0.1", "192.0.2.3"], ["2001:db8::1", "2001:db8::9"]);
        let all = [entry(v4[0], v4[1], 1)?, entry(v6[0], v6[1], 2)?];
        track(socket, &all)?;
        ensure!(forget_connections_of(&set([v6[0]])?)? == 1 && count()? == 1);
        track(socket, &all[1..])?;
        ensure!(forget_connections_of(&set([v4[0]])?)? == 1 && count()? == 1);
        track(socket, &all[..1])?;
        let both = set([v4[0], v6[0], "10.9.9.1", "10.9.9.2"])?;
        ensure!(forget_connections_of(&both)? == 2 && count()? == 0);
        Ok(())
    })
}

fn memory_peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn many_entries_of_others_stay_and_take_no_memory() -> Result<()> {
    alone(|socket| {
        let own =
            |number: u16| Entry::new(["10.0.0.1", "192.0.2.3"], ["192.0.2.3", "10.0.0.1"], number);
        let foreign: Vec<_> = (0..FOREIGN)
            .map(|number| {
                let address = IpAddr::V4(Ipv4Addr::from(0x6440_0000 + number));
                let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));
                Entry { original: [address, peer], reply: [peer, address], port: 1, zone: None }
            })
            .collect();
        track(socket, &foreign)?;
        let kept = foreign.len();
        drop(foreign);
        let many = (2..130).map(|number| Ok(format!("10.0.0.{number}").parse()?));
        let many: HashSet<IpAddr> = many.chain([Ok("10.0.0.1".parse()?)]).collect::<Result<_>>()?;
        let own: Vec<_> = (1..=100).map(own).collect::<Result<_>>()?;
        for (what, addresses) in [
            ("1 address", set(["10.0.0.1"])?),
            ("2 addresses", set(["10.0.0.1", "10.0.0.2"])?),
            ("3 addresses", set(["10.0.0.1", "10.0.0.2", "10.0.0.3"])?),
            ("129 addresses", many),
        ] {
            for _ in 0..3 {
                track(socket, &own)?;
                fs::write("/proc/self/clear_refs", "5")?;
                let before = memory_peak()?;
                let start = Instant::now();
                let deleted = forget_connections_of(&addresses)?;
                let (took, grew) = (start.elapsed(), memory_peak()?.saturating_sub(before));
                println!("{what}: {deleted} of {} deleted in {took:?}, +{grew} KiB", kept + 100);
                ensure!(deleted == 100 && count()? == kept, "{deleted} deleted, {} left", count()?);
                ensure!(grew < 4096, "memory grew by {grew} KiB");
            }
        }
        Ok(())
    })
}

/// Two addresses behind the node's masquerade, in one namespace.
fn container() -> Result<Netns> {
    let netns = Netns::create("conntrack")?;
    let path = netns.path().display().to_string();
    command::run(
        "ip",
        ["link", "add", "c0", "type", "veth", "peer", "name", "eth0", "netns", &path],
    )?;
    let batch = "addr add 10.9.0.1/24 dev c0\nlink set c0 up\n";
    command::run_with_input("ip", ["-batch", "-"], batch.as_bytes())?;
    netns.run(|| {
        let batch = "addr add 10.9.0.2/24 dev eth0\naddr add 10.9.0.3/24 dev eth0\n\
            link set eth0 up\nroute add default via 10.9.0.1\n";
        command::run_with_input("ip", ["-batch", "-"], batch.as_bytes())
    })?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let rules = format!(
        "table ip test {{ chain p {{ type nat hook postrouting priority 100; \
         oifname {UPLINK} ip saddr 10.9.0.0/24 masquerade; }}; }}"
    );
    command::run_with_input("nft", ["-f", "-"], rules.as_bytes())?;
    Ok(netns)
}

/// A socket of the container and the outside peer that answers it, each having heard the other.
fn mapping(node: &Node, netns: &Netns, address: &str) -> Result<(UdpSocket, UdpSocket)> {
    let outside = node.outside(|| Ok(UdpSocket::bind((OUTSIDE_V4, 0))?))?;
    let inside = netns.run(|| Ok(UdpSocket::bind((address, 0))?))?;
    inside.connect(outside.local_addr()?)?;
    for socket in [&outside, &inside] {
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    }
    wait::until(Duration::from_secs(20), "a datagram through the masquerade", || {
        inside.send(b"out")?;
        let (_, from) = outside.recv_from(&mut [0; 8])?;
        ensure!(from.ip() == NODE_V4, "it comes from {from}");
        outside.connect(from)?;
        Ok(())
    })?;
    hears(&outside, &inside)?;
    Ok((outside, inside))
}

fn hears(outside: &UdpSocket, inside: &UdpSocket) -> Result<()> {
    wait::until(Duration::from_secs(20), "an answer from outside", || {
        outside.send(b"in")?;
        inside.recv(&mut [0; 8])?;
        Ok(())
    })
}

#[test]
fn a_mapping_that_a_peer_outside_keeps_alive_is_gone_and_another_address_keeps_its_own()
-> Result<()> {
    let _alone = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    let node = Node::new()?;
    node.run(|| {
        let netns = container()?;
        let (outside, inside) = mapping(&node, &netns, "10.9.0.2")?;
        let (others_peer, others) = mapping(&node, &netns, "10.9.0.3")?;
        while inside.recv(&mut [0; 8]).is_ok() {}
        let deleted = forget_connections_of(&set(["10.9.0.2"])?)?;
        ensure!(deleted == 1, "{deleted} connections deleted");
        // The node answers itself: nobody listens at that port of it.
        wait::until(Duration::from_secs(20), "the node refuses the peer", || {
            let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
            let sent = outside.send(b"late").err().is_some_and(refused);
            ensure!(sent || outside.recv(&mut [0; 8]).err().is_some_and(refused));
            Ok(())
        })?;
        ensure!(inside.recv(&mut [0; 8]).is_err(), "the peer still reaches the address");
        hears(&others_peer, &others)
    })
}
