//! A parked slot receives nothing and sends nothing, from the moment that DEL has returned: packets
//! are counted at both ends.
#![cfg(test)]

use std::{
    fs,
    net::IpAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use repoint_tests::{
    Container, Node, Pooled,
    cli::{self, Slot},
    command,
    node::{NODE, NODE_V4, NODE_V6, OUTSIDE},
    stream::{self, Receiver, Stream},
    tap::Tap,
    traffic::Host,
    wait,
    web::{self, BUSYBOX},
    with_pool,
};
use serde_json::{Value, json};

/// Datagrams of each stream that must be sent in vain.
const IN_VAIN: u64 = 25;

/// The parties that a container talks with.
struct World<'a> {
    node: Host,
    outside: Host,
    other: Container<'a>,
}

impl<'a> World<'a> {
    /// Starts an agent-less pool's neighbour, and gives the outside host routes to containers.
    fn new(pooled: &'a Pooled<'_>) -> Result<Self> {
        pooled.node().outside(|| {
            let (v4, v6) = (NODE_V4.to_string(), NODE_V6.to_string());
            command::run("ip", ["route", "add", "10.217.9.0/24", "via", &v4])?;
            command::run("ip", ["route", "add", "fd00:217:9::/64", "via", &v6])
        })?;
        let other = pooled.add()?;
        let (node, outside) = (Host::here("node")?, pooled.node().outside_host()?);
        Ok(Self { node, outside, other })
    }

    fn targets(&self) -> Result<Vec<(Host, IpAddr)>> {
        let mut targets = Vec::new();
        for address in NODE {
            targets.push((Host::here("node")?, address));
        }
        for address in OUTSIDE {
            targets.push((self.outside.again()?, address));
        }
        for address in self.other.addresses()? {
            targets.push((self.other.host()?, address));
        }
        Ok(targets)
    }
}

/// What an interface has received and sent, as the kernel counts it.
fn packets(interface: &str) -> Result<[u64; 2]> {
    let text = command::run("ip", ["-json", "-statistics", "link", "show", "dev", interface])?;
    let links: Value = serde_json::from_str(&text)?;
    let number = |way: &str| {
        let packets = links[0]["stats64"][way]["packets"].as_u64();
        packets.with_context(|| format!("no statistics of {interface}: {text}"))
    };
    Ok([number("rx")?, number("tx")?])
}

/// Packets that were dropped because a slot is parked.
fn dropped(node: &Node) -> Result<u64> {
    cli::counters(node)?.get("parked").copied().context("no counter `parked`")
}

/// Sees that what `streams` sent before a moment arrives and nothing of what they send after; the
/// moment is when `park` returns.
fn end(
    node: &Node,
    streams: &mut [(Stream, Receiver)],
    park: impl FnOnce() -> Result<()>,
) -> Result<()> {
    for (stream, receiver) in streams.iter_mut() {
        receiver.wait_until_beyond(3).with_context(|| stream.name().to_owned())?;
    }
    park()?;
    let before = dropped(node)?;
    let marks: Vec<u64> = streams.iter().map(|(stream, _)| stream.begun()).collect();
    for ((stream, _), mark) in streams.iter().zip(&marks) {
        stream.wait_until_sent(mark + IN_VAIN)?;
    }
    let count = dropped(node)? - before;
    for ((stream, receiver), mark) in streams.iter_mut().zip(marks) {
        let (sent, last) = (stream.begun(), receiver.last()?);
        println!("{}: {sent} sent, {mark} when DEL returned, {last} arrived last", stream.name());
        ensure!(last <= mark, "{}: {last} arrived, sent after {mark}", stream.name());
    }
    let least = (IN_VAIN - 1) * u64::try_from(streams.len())?;
    ensure!(count >= least, "{count} packets were counted as parked, not {least}");
    Ok(())
}

#[test]
fn nothing_arrives_that_was_sent_after_del() -> Result<()> {
    with_pool(&json!({ "warm": 4, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let world = World::new(pooled)?;
        let container = pooled.add_function("resize")?;
        let (inside, other) = (container.host()?, world.other.host()?);
        let mut streams = Vec::new();
        for from in [&world.node, &world.outside, &other] {
            for address in container.addresses()? {
                streams.push(stream::start(from, &inside, address)?);
            }
        }
        let (tap, addresses) = (Tap::open(&inside)?, container.addresses()?);
        let mut received = 0;
        end(pooled.node(), &mut streams, || {
            container.delete()?;
            let before = tap.packets(&addresses)?;
            ensure!(before > 0, "no packet is seen");
            [received, _] = inside.run(|| packets("eth0"))?;
            Ok(())
        })?;
        let count = tap.packets(&addresses)?;
        ensure!(count == 0, "{count} packets passed the namespace's interfaces");
        let [now, _] = inside.run(|| packets("eth0"))?;
        ensure!(now == received, "eth0 received {} packets", now - received);
        drop((streams, tap));
        container.remove_netns()?;
        world.other.remove()
    })
}

/// The sockets outlive DEL, as those of a container do that is stopped afterwards.
#[test]
fn nothing_leaves_that_is_sent_after_del() -> Result<()> {
    with_pool(&json!({ "warm": 4, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let world = World::new(pooled)?;
        let container = pooled.add_function("resize")?;
        let inside = container.host()?;
        let mut streams = Vec::new();
        for (to, address) in world.targets()? {
            streams.push(stream::start(&inside, &to, address)?);
        }
        let (other, addresses) = (Tap::open(&world.other.host()?)?, container.addresses()?);
        let mut sent = [0, 0];
        end(pooled.node(), &mut streams, || {
            container.delete()?;
            let before = other.packets(&addresses)?;
            ensure!(before > 0, "no packet is seen");
            sent = inside.run(|| packets("eth0"))?;
            Ok(())
        })?;
        let count = other.packets(&addresses)?;
        ensure!(count == 0, "{count} packets reached the other container");
        let now = inside.run(|| packets("eth0"))?;
        println!("eth0 had sent {} packets when DEL returned, and {} now", sent[1], now[1]);
        ensure!(now[1] >= sent[1] + IN_VAIN, "the namespace sent nothing: this shows nothing");
        ensure!(now[0] == sent[0], "eth0 received {} packets", now[0] - sent[0]);
        drop((streams, other));
        container.remove_netns()?;
        world.other.remove()
    })
}

/// A process that sends echo requests. Dropping it kills it.
struct Ping(Child);

impl Ping {
    fn start(from: &Host, to: IpAddr) -> Result<Self> {
        let to = to.to_string();
        let start = || {
            Command::new(BUSYBOX)
                .args(["ping", "-i", "0.02", &to])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .context("start busybox ping")
        };
        Ok(Self(from.run(start)?))
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a process is left: {error}");
        }
    }
}

/// Echo requests that the calling thread's network namespace has received.
fn echo_requests() -> Result<u64> {
    let v4 = fs::read_to_string("/proc/thread-self/net/snmp").context("read snmp")?;
    let v6 = fs::read_to_string("/proc/thread-self/net/snmp6").context("read snmp6")?;
    let mut lines = v4.lines().filter(|line| line.starts_with("Icmp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        bail!("no line Icmp: {v4}");
    };
    let column = names.split(' ').position(|name| name == "InEchos").context("no InEchos")?;
    let v4: u64 = values.split(' ').nth(column).context("no value")?.parse()?;
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Icmp6InEchos")).context("no InEchos")?;
    Ok(v4 + v6.trim().parse::<u64>()?)
}

#[test]
fn a_process_that_outlives_del_reaches_nobody_and_keeps_the_slot() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        let agent = pooled.agent()?;
        let container = pooled.add_function("resize")?;
        let inside = container.host()?;
        let slot = pooled.slot_of(&container)?.slot;
        let pings: Vec<Ping> =
            NODE.into_iter().map(|node| Ping::start(&inside, node)).collect::<Result<_>>()?;
        wait::until(Duration::from_secs(10), "the node is pinged", || {
            ensure!(echo_requests()? >= 10, "{} times", echo_requests()?);
            Ok(())
        })?;
        container.remove()?;
        let (received, before) = (echo_requests()?, dropped(pooled.node())?);
        wait::until(Duration::from_secs(10), "requests are dropped", || {
            let count = dropped(pooled.node())? - before;
            ensure!(count >= 2 * IN_VAIN, "{count} are");
            Ok(())
        })?;
        let now = echo_requests()?;
        ensure!(now == received, "{} requests arrived after DEL", now - received);
        // Nobody gets it while the process is there.
        for _ in 0..4 {
            for next in [pooled.add_function("resize")?, pooled.add()?] {
                ensure!(pooled.slot_of(&next)?.slot != slot, "a slot in use was given out");
                next.remove()?;
            }
        }
        pooled.wait_for_slot(&slot, &["dirty"])?;
        drop(pings);
        pooled.wait_for_slot(&slot, &["parked"])?;
        agent.stop()
    })
}

/// Its slot is deleted, and it stays in a namespace without an interface.
#[test]
fn a_process_that_outlives_a_deleted_slot_reaches_nobody() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 8 }), |pooled| {
        let agent = pooled.agent()?;
        let container = pooled.add()?;
        let (inside, here) = (container.host()?, Host::here("node")?);
        let slot = pooled.slot_of(&container)?;
        let streams = NODE.into_iter().map(|node| stream::start(&inside, &here, node));
        let mut streams = streams.collect::<Result<Vec<_>>>()?;
        for (stream, receiver) in &mut streams {
            receiver.wait_until_beyond(3).with_context(|| stream.name().to_owned())?;
        }
        container.remove()?;
        let marks: Vec<u64> = streams.iter().map(|(stream, _)| stream.begun()).collect();
        pooled.wait_for_slot(&slot.slot, &["gone"])?;
        let links = inside.run(|| command::run("ip", ["-brief", "link"]))?;
        ensure!(links.lines().count() == 1, "in the namespace of the slot is left:\n{links}");
        let next = pooled.add()?;
        ensure!(pooled.slot_of(&next)?.slot != slot.slot, "a deleted slot was given out");
        next.check()?;
        for ((stream, receiver), mark) in streams.iter_mut().zip(marks) {
            stream.wait_until_sent(mark + IN_VAIN)?;
            let last = receiver.last()?;
            println!("{}: {mark} when DEL returned, {last} arrived last", stream.name());
            ensure!(last <= mark, "{}: {last} arrived, sent after {mark}", stream.name());
        }
        drop(streams);
        next.remove()?;
        agent.stop()
    })
}

/// Slots that nobody has had yet, and one that waits for its function.
#[test]
fn slots_that_wait_are_silent_and_get_no_packet() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        pooled.add_function("resize")?.remove()?;
        pooled.fill()?;
        let world = World::new(pooled)?;
        let other = world.other.host()?;
        let waiting = pooled.slots()?;
        let waiting: Vec<&Slot> = waiting.iter().filter(|slot| slot.state != "active").collect();
        for state in ["warm", "parked"] {
            ensure!(waiting.iter().any(|slot| slot.state == state), "no {state} one: {waiting:?}");
        }
        for slot in waiting {
            let (before, count) = (packets(&slot.host_ifname)?, dropped(pooled.node())?);
            let addresses = slot
                .addresses
                .iter()
                .map(|text| Ok(text.split('/').next().unwrap_or_default().parse()?));
            let addresses: Vec<IpAddr> = addresses.collect::<Result<_>>()?;
            web::silent(&[&world.node, &world.outside, &other], &addresses)?;
            let (now, count) = (packets(&slot.host_ifname)?, dropped(pooled.node())? - count);
            println!("slot {} ({}): {count} packets were dropped", slot.slot, slot.state);
            // What the node's end has sent, the container's receives.
            ensure!(now[1] == before[1], "{} packets got in", now[1] - before[1]);
            // Two families, three parties, a SYN and an echo request each.
            ensure!(count >= 12, "{count} packets were dropped");
        }
        world.other.remove()
    })
}
