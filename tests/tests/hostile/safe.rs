//! What holds for a container that has its network for itself.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    cli, command,
    hostile::{MARK, SECRET, Watch, delete_ipset, fast_open_key},
    node::{NODE, OUTSIDE},
    traffic::{self, Host},
    wait,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    attack::Attack,
    dump::dump,
    scrub_dump::{Dump, difference},
    world::{Gang, Owner, Words, World},
};

/// How long something may take to arrive.
const SOON: Duration = Duration::from_secs(5);
/// Secrets that are sent over each path.
const SECRETS: usize = 3;
/// A key of TCP fast open that is none, or that a scrub has written.
const NO_KEY: &str = "00000000-00000000-00000000-00000000";

/// What the next owner is compared with.
pub(crate) struct Expected {
    /// A namespace that nobody has used.
    pub(crate) fresh: Dump,
    /// The former owner's key of TCP fast open.
    pub(crate) key: String,
}

/// The key of TCP fast open as the kernel shows it, without making one.
pub(crate) fn shown_key(host: &Host) -> Result<String> {
    let path = "/proc/sys/net/ipv4/tcp_fastopen_key";
    host.run(|| std::fs::read_to_string(path).with_context(|| format!("read {path}")))
        .map(|key| key.trim().to_owned())
}

/// Fails unless a container that was just started is safe from an attack: its attackers strike, and
/// nothing of theirs arrives, nothing of its own gets to them, its traffic works and its network is
/// like a new one.
pub(crate) fn is_safe(
    world: &World<'_>,
    next: &Owner<'_>,
    expected: &Expected,
    attack: &Attack,
    gang: &Gang<'_>,
    words: &Words,
) -> Result<()> {
    let neighbour = Watch::open(&world.bystander.host)?;
    let own = Watch::open(&next.host)?;
    let mut words = words.clone();
    words.party("next", next)?;
    words.lies("lies", "next");
    gang.strike(world, attack, &words)?;
    gets_nothing("the next owner", &own)?;
    // It is a socket in the namespace that is looked at.
    drop(own);
    let found = difference(&expected.fresh, &dump(&next.host, &next.slot)?);
    ensure!(found.is_empty(), "slot {} is not like a new one:\n{found}", next.slot.slot);
    ensure!(!delete_ipset(&next.host, "left")?, "the former owner's ipset is there");
    let own = Watch::open(&next.host)?;
    whispers(world, next)?;
    next.container.check()?;
    leads_to(world, next)?;
    talks(world, next)?;
    gets_nothing("the next owner", &own)?;
    gets_nothing("the bystander", &neighbour)?;
    let count = gang.secrets()?;
    ensure!(count == 0, "{count} of the next owner's secrets reached its attackers");
    has_a_key_of_its_own(next, &expected.key)
}

fn gets_nothing(who: &str, watch: &Watch) -> Result<()> {
    let count = watch.count(MARK)?;
    ensure!(count == 0, "{count} frames of the former owner's reached {who}");
    Ok(())
}

/// Sends secrets from and to the next owner, each of which must arrive where it is meant to.
fn whispers(world: &World<'_>, next: &Owner<'_>) -> Result<()> {
    let (node, outside) = (Host::here("node")?, world.outside_host()?);
    for ((own, neighbour), (there, here)) in
        next.addresses.iter().zip(&world.bystander.addresses).zip(OUTSIDE.into_iter().zip(NODE))
    {
        whisper(&next.host, &world.bystander.host, *neighbour)?;
        whisper(&world.bystander.host, &next.host, *own)?;
        whisper(&node, &next.host, *own)?;
        whisper(&next.host, &outside, there)?;
        whisper(&next.host, &node, here)?;
    }
    Ok(())
}

fn whisper(from: &Host, to: &Host, address: IpAddr) -> Result<()> {
    let receiver = to.bind_udp((address, 0).into())?;
    let target = receiver.local_addr().context("address of a socket")?;
    let sender = from.bind_udp(traffic::unspecified(address))?;
    let mut buffer = [0; 64];
    for _ in 0..SECRETS {
        sender.send_to(SECRET, target).with_context(|| format!("{} to {target}", from.name()))?;
        let what = || format!("a secret from {} to {} at {target}", from.name(), to.name());
        let length = receiver.recv(&mut buffer).with_context(what)?;
        ensure!(&buffer[..length] == SECRET, "{} is changed", what());
    }
    Ok(())
}

/// TCP of both families in both directions, and the address by which it is seen outside.
fn talks(world: &World<'_>, next: &Owner<'_>) -> Result<()> {
    traffic::all(&world.bystander.host, &next.host, &next.addresses)?;
    traffic::all(&next.host, &world.bystander.host, &world.bystander.addresses)?;
    for (own, there) in NODE.into_iter().zip(OUTSIDE) {
        let seen = traffic::tcp(&next.host, &world.outside_host()?, there)?;
        ensure!(seen == own, "{there} sees {seen}, not the node's {own}");
    }
    Ok(())
}

/// An address in the maps, as `repoint endpoints` shows it.
#[derive(Debug, Deserialize)]
struct Endpoint {
    address: IpAddr,
    ifindex: u64,
    mac: String,
}

/// The node sends the next owner's addresses to its interface and no other, of which the other end is
/// the container's eth0; no other slot has one of them.
fn leads_to(world: &World<'_>, next: &Owner<'_>) -> Result<()> {
    let link = |host: Option<&Host>, name: &str| -> Result<(u64, u64)> {
        let show = || command::run("ip", ["-json", "link", "show", "dev", name]);
        let text = host.map_or_else(show, |host| host.run(show))?;
        let links: Value = serde_json::from_str(&text)?;
        let number = |key: &str| links[0][key].as_u64().with_context(|| format!("{key}: {text}"));
        Ok((number("ifindex")?, number("link_index")?))
    };
    let (outer, its_peer) = link(None, &next.slot.host_ifname)?;
    let (inner, peer) = link(Some(&next.host), "eth0")?;
    ensure!((outer, its_peer) == (peer, inner), "eth0 is not the other end of the slot's link");
    let endpoints: Vec<Endpoint> = cli::query(world.pooled.node(), &["endpoints"])?;
    let slots = world.pooled.slots()?;
    for address in &next.addresses {
        let found: Vec<&Endpoint> =
            endpoints.iter().filter(|endpoint| endpoint.address == *address).collect();
        let [endpoint] = found.as_slice() else {
            anyhow::bail!("{} entries of {address}", found.len());
        };
        ensure!(endpoint.ifindex == outer, "{endpoint:?} leads to another interface than {outer}");
        ensure!(endpoint.mac == next.slot.mac, "{endpoint:?} has another address");
        let text = address.to_string();
        let route = command::run("ip", ["route", "get", &text])?;
        let by = format!("dev {} ", next.slot.host_ifname);
        ensure!(route.contains(&by), "the node's route to {address}: {route}");
        let holds = |slot: &&cli::Slot| {
            slot.addresses.iter().any(|one| one.split('/').next() == Some(text.as_str()))
        };
        let holders = slots.iter().filter(holds).count();
        ensure!(holders == 1, "{holders} slots have {address}");
    }
    Ok(())
}

/// A listener with TCP fast open has a key that is neither the former owner's nor a well-known one.
fn has_a_key_of_its_own(next: &Owner<'_>, former: &str) -> Result<()> {
    let key = fast_open_key(&next.host)?;
    ensure!(key != NO_KEY, "the key of TCP fast open is all zeros");
    ensure!(former == NO_KEY || key != former, "the key of TCP fast open is the former owner's");
    Ok(())
}

/// Another tenant's container comes and goes as ever, whatever the attackers do.
pub(crate) fn others_come_and_go(world: &World<'_>, other: Owner<'_>) -> Result<()> {
    let slot = other.slot.clone();
    other.remove()?;
    wait::until(SOON, "another tenant's slot is ready again", || {
        let found = world.pooled.slot(&slot.slot)?;
        let state = found.map_or_else(|| "gone".to_owned(), |slot| slot.state);
        ensure!(["parked", "gone"].contains(&state.as_str()), "slot {} is {state}", slot.slot);
        Ok(())
    })
}
