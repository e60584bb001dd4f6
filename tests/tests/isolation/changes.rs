//! Isolation while things change: slots that pass from tenant to tenant, another isolation for containers
//! that run, and another data plane.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use repoint_common::LAYOUT_VERSION;
use repoint_tests::{
    Container, Node, cli,
    networks::{network, pool},
    share::is_whole,
    traffic::{self, Host, numbers_received},
    wait, with_pool,
};
use serde_json::json;

use super::{add, ensure_all, skipped};

/// Activations of [`no_packet_passes_before_its_slot_has_its_users_identity`]; all under `--whole`.
const ACTIVATIONS: [u32; 2] = [200, 1000];

/// How long sweeps may take beside packets that are sent all the time: each looks several times.
const SWEEPS: Duration = Duration::from_mins(1);
/// How long a packet may take to its receiver.
const LIMIT: Duration = Duration::from_secs(5);

/// The tenants that use the slots in turn, each with a server of its own.
const TENANTS: [&str; 2] = ["acme", "bolt"];

/// Functions of two tenants have the same few slots in turn, with no agent, and send to both tenants' servers
/// at once. Each packet to its own tenant's arrives, and no other.
#[test]
fn no_packet_passes_before_its_slot_has_its_users_identity() -> Result<()> {
    let activations = ACTIVATIONS[usize::from(is_whole())];
    with_pool(&json!({ "warm": 4, "maxSlots": 6, "scope": "network" }), |pooled| {
        pooled.fill()?;
        let apart = pooled.network_with(|configuration| {
            configuration["isolation"] = json!("tenant");
        })?;
        let servers = TENANTS.map(|tenant| add(&apart, tenant, (tenant, "server")));
        let [one, other] = servers;
        let servers = [one?, other?];
        let mut bound = Vec::new();
        for server in &servers {
            let host = server.host()?;
            let sockets = server.addresses()?.into_iter().map(|to| host.bind_udp((to, 9).into()));
            bound.push(sockets.collect::<Result<Vec<_>>>()?);
        }
        let to: Vec<SocketAddr> = servers
            .iter()
            .map(Container::addresses)
            .collect::<Result<Vec<_>>>()?
            .concat()
            .into_iter()
            .map(|address| (address, 9).into())
            .collect();
        let mut slots = BTreeSet::new();
        let mut seen = [Vec::new(), Vec::new()];
        for number in 0..activations {
            let place = number as usize % 2;
            let tenant = TENANTS[place];
            let container = add(&apart, &format!("c{number}"), (tenant, "client"))?;
            container.host()?.run(|| {
                to.iter().try_for_each(|&target| {
                    let socket = UdpSocket::bind(traffic::unspecified(target.ip()))?;
                    // A packet that is dropped is no error to its sender.
                    socket.send_to(&number.to_be_bytes(), target).context("send").map(drop)
                })
            })?;
            slots.insert(pooled.slot_of(&container)?.slot);
            // Packets to the other tenant's server were sent in the same instant.
            wait::until(LIMIT, "the packets arrive", || {
                for (seen, sockets) in seen.iter_mut().zip(&bound) {
                    seen.extend(numbers_received(sockets)?);
                }
                let arrived = seen[place].iter().filter(|seen| **seen == number).count();
                ensure!(arrived == to.len() / 2, "{arrived} of {} packets", to.len() / 2);
                Ok(())
            })?;
            container.remove()?;
        }
        for (place, seen) in seen.iter().enumerate() {
            let foreign = seen.iter().find(|number| **number as usize % 2 != place);
            ensure!(foreign.is_none(), "{} has a packet of {foreign:?}", TENANTS[place]);
        }
        println!("{activations} activations of {} slots: all right", slots.len());
        ensure!(slots.len() < activations as usize / 10, "slots were not reused: {slots:?}");
        servers.into_iter().try_for_each(Container::remove)
    })
}

/// Sends datagrams with a number to each server, which `arrive` or not; fails unless that is so.
fn ensure_arrivals(
    client: &Host,
    servers: &[(UdpSocket, SocketAddr)],
    number: u32,
    arrive: [bool; 4],
) -> Result<()> {
    client.run(|| {
        for _ in 0..DATAGRAMS {
            for (_, target) in servers {
                let socket = UdpSocket::bind(traffic::unspecified(target.ip()))?;
                socket.send_to(&number.to_be_bytes(), target).context("send")?;
            }
        }
        Ok(())
    })?;
    let wanted = arrive.map(|arrives| if arrives { DATAGRAMS } else { 0 });
    let mut found = vec![0; servers.len()];
    wait::until(LIMIT, "the datagrams arrive", || {
        for ((socket, _), found) in servers.iter().zip(&mut found) {
            let received = numbers_received(std::slice::from_ref(socket))?;
            *found += received.into_iter().filter(|received| *received == number).count();
        }
        let enough = found.iter().zip(wanted).all(|(found, wanted)| *found >= wanted);
        ensure!(enough, "{found:?} of {wanted:?} arrived");
        Ok(())
    })?;
    ensure!(found == wanted, "{found:?} arrived, not {wanted:?}");
    Ok(())
}

/// Datagrams to each server.
const DATAGRAMS: usize = 20;

/// From the next packet on, also for flows that were there; and a flow within a tenant loses nothing.
#[test]
fn isolation_changes_for_containers_that_run() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, true))?;
        let client = add(&network, "client", ("acme", "one"))?;
        let (stranger, friend) = (
            add(&network, "stranger", ("bolt", "two"))?,
            add(&network, "friend", ("acme", "two"))?,
        );
        let host = client.host()?;
        let mut servers = Vec::new();
        for container in [&stranger, &friend] {
            for address in container.addresses()? {
                let target = SocketAddr::new(address, 9);
                servers.push((container.host()?.bind_udp(target)?, target));
            }
        }
        let stream = (client.host()?, friend.host()?, friend.addresses()?);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let streams = scope.spawn(|| {
                let mut streams = 0;
                while !done.load(Ordering::Relaxed) {
                    traffic::all(&stream.0, &stream.1, &stream.2)?;
                    streams += 1;
                }
                Ok::<_, anyhow::Error>(streams)
            });
            let changed = (0..10).try_for_each(|number| {
                for (isolation, arrive) in [("tenant", false), ("none", true)] {
                    let said = cli::repoint(&node, &["isolate", "net", isolation])?;
                    ensure!(said.contains("of 3 running containers"), "{said}");
                    let number = 2 * number + u32::from(arrive);
                    ensure_arrivals(&host, &servers, number, [arrive, arrive, true, true])
                        .with_context(|| isolation.to_owned())?;
                }
                Ok(())
            });
            done.store(true, Ordering::Relaxed);
            let streams = streams.join().map_err(|_| anyhow!("a thread panicked"))?;
            changed?;
            println!("{} streams went on", streams?);
            Ok::<_, anyhow::Error>(())
        })?;
        // The change is on record, and no sweep finds another one.
        cli::repoint(&node, &["isolate", "net", "tenant"])?;
        cli::repoint(&node, &["sweep"])?;
        ensure_arrivals(&host, &servers, 99, [false, false, true, true])
            .context("after a sweep")?;
        // A container that starts has that of the configuration.
        let next = add(&network, "next", ("bolt", "three"))?;
        ensure_all("none", &[(("bolt", "two"), &stranger), (("bolt", "three"), &next)])?;
        ensure_all("tenant", &[(("acme", "one"), &client), (("bolt", "three"), &next)])?;
        [client, stranger, friend, next].into_iter().try_for_each(Container::remove)
    })
}

/// The pins are lost, and a sweep loads another data plane and moves all slots to it: no packet passes in
/// between that isolation denies.
#[test]
fn no_packet_passes_while_slots_move_to_another_data_plane() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network =
            network(&node, "net", 7, |configuration| configuration["isolation"] = json!("tenant"))?;
        let one = add(&network, "one", ("acme", "one"))?;
        let (friend, stranger) = (
            add(&network, "friend", ("acme", "two"))?,
            add(&network, "stranger", ("bolt", "one"))?,
        );
        let hosts = [one.host()?, stranger.host()?];
        let mut denied = Vec::new();
        for ([from, to], container) in [([0, 1], &stranger), ([1, 0], &one)] {
            for address in container.addresses()? {
                let target = SocketAddr::new(address, 9);
                denied.push((&hosts[from], hosts[to].bind_udp(target)?, target));
            }
        }
        let done = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            let senders = denied.iter().map(|(host, _, target)| {
                let done = &done;
                scope.spawn(move || {
                    host.run(|| {
                        let socket = UdpSocket::bind(traffic::unspecified(target.ip()))?;
                        let mut sent = 0_u64;
                        while !done.load(Ordering::Relaxed) {
                            socket.send_to(&[0; 4], target).context("send")?;
                            sent += 1;
                        }
                        Ok(sent)
                    })
                })
            });
            let senders: Vec<_> = senders.collect();
            let moved = (0..3).try_for_each(|_| move_slots(&node, &one, &friend));
            done.store(true, Ordering::Relaxed);
            let mut sent = 0;
            for sender in senders {
                sent += sender.join().map_err(|_| anyhow!("a sender panicked"))??;
            }
            moved?;
            Ok::<_, anyhow::Error>(sent)
        })?;
        let passed = denied.iter().map(|(_, socket, _)| {
            Ok::<_, anyhow::Error>(numbers_received(std::slice::from_ref(socket))?.len())
        });
        let passed = passed.collect::<Result<Vec<_>>>()?;
        println!("of {sent} packets {passed:?} passed");
        ensure!(sent > 1000, "only {sent} packets were sent");
        ensure!(passed.iter().all(|passed| *passed == 0), "{passed:?} of {sent} packets passed");
        [one, friend, stranger].into_iter().try_for_each(Container::remove)
    })
}

/// Removes the pins, and sweeps until nothing differs.
fn move_slots(node: &Node, one: &Container<'_>, friend: &Container<'_>) -> Result<()> {
    let pins = node.dirs().bpf.join(format!("v{LAYOUT_VERSION}"));
    fs::remove_dir_all(&pins).context("remove the pins")?;
    wait::until(SWEEPS, "a sweep finds nothing", || {
        cli::repoint(node, &["sweep"])?;
        cli::repoint(node, &["sweep", "--dry-run"]).map(drop)
    })?;
    // Programs and map entries are the pinned ones'.
    one.check()?;
    friend.check()?;
    traffic::all(&one.host()?, &friend.host()?, &friend.addresses()?)
}
