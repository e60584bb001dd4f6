//! Two slots of different MTUs on one node: what is too large for the receiver is answered, and what
//! follows fits.
#![cfg(test)]

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, cli, command, dist, missing,
    plugin::Network,
    tap::Tap,
    traffic::{self, Host},
    wait,
};
use serde_json::json;

/// MTU of the two slots, bytes.
const WIDE: usize = 1500;
const NARROW: usize = 1280;
/// How long it may take until a size is known and datagrams arrive.
const LIMIT: Duration = Duration::from_secs(5);

fn network(node: &Node, name: &str, subnet: u8, mtu: usize) -> Result<Network> {
    let mut configuration = json!({
        "cniVersion": "1.0.0", "name": name, "type": "repoint-cni", "mtu": mtu,
        "ipam": {
            "ranges": [
                [{ "subnet": format!("10.217.{subnet}.0/24") }],
                [{ "subnet": format!("fd00:217:{subnet}::/64") }],
            ],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        },
    });
    node.dirs().patch(&mut configuration);
    Network::new(&configuration, dist::cni_path())
}

/// Runs `f` on a node with a container of each MTU.
fn with_both(
    f: impl FnOnce(&Node, &Container<'_>, &Container<'_>) -> Result<()> + Send,
) -> Result<()> {
    if missing([dist::plugin(), dist::cli()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let networks = [network(&node, "wide", 3, WIDE)?, network(&node, "narrow", 4, NARROW)?];
        let wide = Container::add(&networks[0], "wide")?;
        let narrow = Container::add(&networks[1], "narrow")?;
        f(&node, &wide, &narrow)?;
        wide.remove()?;
        narrow.remove()
    })
}

/// MTU of the path to an address as the party has learnt it, if it has.
fn learnt(host: &Host, address: IpAddr) -> Result<Option<usize>> {
    let to = address.to_string();
    let route = host.run(|| command::run("ip", ["route", "get", &to]))?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    words.next().map(|mtu| mtu.parse().with_context(|| route.clone())).transpose()
}

/// Packets that were left to the host stack because they are too large.
fn too_large(node: &Node) -> Result<u64> {
    Ok(cli::counters(node)?.get("too_large").copied().unwrap_or_default())
}

/// Sends datagrams of a size until one arrives.
fn arrives(from: &Host, to: &Host, address: IpAddr, size: usize) -> Result<()> {
    let server = to.bind_udp((address, 0).into())?;
    server.set_read_timeout(Some(Duration::from_millis(200)))?;
    let client = from.bind_udp(traffic::unspecified(address))?;
    client.connect(server.local_addr()?)?;
    let data = vec![7; size];
    let mut buffer = vec![0; size + 1];
    wait::until(LIMIT, "a datagram arrives", || {
        // The kernel may report here that an earlier one was too large.
        let sent = client.send(&data);
        let length = server.recv(&mut buffer).with_context(|| format!("sent: {sent:?}"))?;
        ensure!(buffer[..length] == data, "{length} of {size} bytes arrived, or they differ");
        Ok(())
    })
}

#[test]
fn tcp_and_udp_work_both_ways() -> Result<()> {
    with_both(|_, wide, narrow| {
        let both = [(wide, narrow), (narrow, wide)];
        for (from, to) in both {
            let (client, server) = (from.host()?, to.host()?);
            for address in to.addresses()? {
                traffic::tcp(&client, &server, address)?;
                for size in [1, 1200, 1252, 1253, 1400, 1472, 1473, 8000] {
                    arrives(&client, &server, address, size)
                        .with_context(|| format!("{size} bytes to {address}"))?;
                }
            }
        }
        Ok(())
    })
}

/// Datagrams that fit the sender's interface are not fragmented by it, and carry "don't fragment".
#[test]
fn an_oversize_datagram_is_answered_and_not_delivered() -> Result<()> {
    with_both(|node, wide, narrow| {
        let (client, server) = (wide.host()?, narrow.host()?);
        for address in narrow.addresses()? {
            let tap = Tap::open_on(&server, "eth0")?;
            let before = too_large(node)?;
            ensure!(learnt(&client, address)?.is_none(), "a size is known before the first packet");
            arrives(&client, &server, address, 1400)?;
            let largest = tap.seen()?.iter().map(|packet| packet.length).max();
            println!(
                "{address}: path MTU {:?}, largest packet {largest:?}",
                learnt(&client, address)?
            );
            assert_eq!(learnt(&client, address)?, Some(NARROW));
            ensure!(largest.is_some_and(|largest| largest <= NARROW), "{largest:?} bytes arrived");
            assert_eq!(too_large(node)? - before, 1);
        }
        Ok(())
    })
}

/// A receiver that announces larger segments than it takes, so that they come in super-packets.
#[test]
fn oversize_segments_of_tcp_are_answered_and_sent_again() -> Result<()> {
    with_both(|node, wide, narrow| {
        let (client, server) = (wide.host()?, narrow.host()?);
        server.run(|| {
            let commands = "route change default via 169.254.1.1 dev eth0 advmss 1460
                            -6 route change default via fe80::1 dev eth0 advmss 1440";
            for command in commands.lines() {
                command::run("ip", command.split_whitespace())?;
            }
            Ok(())
        })?;
        for address in narrow.addresses()? {
            let before = too_large(node)?;
            traffic::tcp(&client, &server, address)?;
            let count = too_large(node)? - before;
            println!("{address}: path MTU {:?}, {count} too large", learnt(&client, address)?);
            assert_eq!(learnt(&client, address)?, Some(NARROW));
            ensure!(count > 0, "nothing was too large");
        }
        Ok(())
    })
}
