//! Key `isolation`: which containers of a node reach each other.
#![cfg(test)]

mod changes;

use std::{net::IpAddr, thread};

use anyhow::{Context as _, Result, anyhow, ensure};
use repoint_tests::{
    Container, Node, Pooled, cli, command, dist, missing,
    networks::{POOLED, network, pool},
    node::OUTSIDE,
    plugin::Network,
    pooled::user,
    traffic::{self, Host},
    with_pool,
};
use serde_json::{Value, json};

/// Containers by tenant and function; empty: none.
const USERS: [(&str, &str); 6] =
    [("acme", "one"), ("acme", "one"), ("acme", "two"), ("bolt", "one"), ("", ""), ("", "one")];

fn skipped() -> bool {
    missing([dist::plugin(), dist::cli()])
}

/// The arguments of a user.
fn args((tenant, function): (&str, &str)) -> String {
    match (tenant, function) {
        ("", "") => String::new(),
        ("", function) => format!("repoint.dev/function={function}"),
        (tenant, function) => user(tenant, function),
    }
}

fn add<'a>(network: &'a Network, name: &str, user: (&str, &str)) -> Result<Container<'a>> {
    Container::add_with(network, name, |attachment| attachment.args(&args(user)))
}

/// Whether two containers reach each other under a value of `isolation`.
fn reach(isolation: &str, one: (&str, &str), other: (&str, &str)) -> bool {
    match isolation {
        "tenant" => one.0 == other.0 && !one.0.is_empty(),
        "function" => one == other && !one.0.is_empty() && !one.1.is_empty(),
        _ => true,
    }
}

/// Fails unless `client` reaches `server` at its addresses, or not.
fn ensure_reach(client: &Host, server: &Host, addresses: &[IpAddr], expected: bool) -> Result<()> {
    if expected {
        return traffic::all(client, server, addresses);
    }
    addresses.iter().try_for_each(|&address| traffic::no_tcp(client, server, address))
}

/// Tries all pairs of containers, those that wait for an answer at the same time.
fn ensure_all(isolation: &str, containers: &[((&str, &str), &Container<'_>)]) -> Result<()> {
    let mut pairs = Vec::new();
    for (at, (client, from)) in containers.iter().enumerate() {
        for (_, (server, to)) in containers.iter().enumerate().filter(|(other, _)| *other != at) {
            let expected = reach(isolation, *client, *server);
            let what = format!("{isolation}: {client:?} to {server:?}, expected {expected}");
            pairs.push((what, from.host()?, to.host()?, to.addresses()?, expected));
        }
    }
    thread::scope(|scope| {
        let tried: Vec<_> = pairs
            .iter()
            .map(|(what, client, server, addresses, expected)| {
                let attempt = move || ensure_reach(client, server, addresses, *expected);
                (what, scope.spawn(attempt))
            })
            .collect();
        tried.into_iter().try_for_each(|(what, attempt)| {
            let result = attempt.join().map_err(|_| anyhow!("{what}: the thread panicked"))?;
            result.with_context(|| what.clone())
        })
    })
}

/// Packets that were dropped because of isolation.
fn isolated(node: &Node) -> Result<u64> {
    cli::counters(node)?.get("isolated").copied().context("no counter `isolated`")
}

fn containers_reach_those_that_isolation_says(isolation: &str, pooled: bool) -> Result<()> {
    println!("isolation {isolation}, pooled {pooled}");
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| {
            pool(configuration, pooled);
            configuration["isolation"] = json!(isolation);
        })?;
        let mut containers = Vec::new();
        for (number, user) in USERS.into_iter().enumerate() {
            containers.push((user, add(&network, &format!("c{number}"), user)?));
        }
        let all: Vec<_> = containers.iter().map(|(user, container)| (*user, container)).collect();
        ensure_all(isolation, &all)?;
        ensure!((isolated(&node)? > 0) == (isolation != "none"), "{} packets", isolated(&node)?);
        let (here, outside) = (Host::here("node")?, node.outside_host()?);
        for (_, container) in &containers {
            let host = container.host()?;
            traffic::all(&here, &host, &container.addresses()?)?;
            for address in OUTSIDE {
                traffic::tcp(&host, &outside, address)?;
            }
            container.check()?;
        }
        containers.into_iter().try_for_each(|(_, container)| container.remove())
    })
}

#[test]
fn functions_of_other_tenants_are_out_of_reach() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    POOLED
        .into_iter()
        .try_for_each(|pooled| containers_reach_those_that_isolation_says("tenant", pooled))
}

#[test]
fn other_functions_are_out_of_reach() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    POOLED
        .into_iter()
        .try_for_each(|pooled| containers_reach_those_that_isolation_says("function", pooled))
}

#[test]
fn without_isolation_all_reach_each_other() -> Result<()> {
    if skipped() { Ok(()) } else { containers_reach_those_that_isolation_says("none", true) }
}

/// The network of either container keeps them apart. A tenant has one number in all networks.
#[test]
fn isolation_counts_at_both_ends() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let open = network(&node, "open", 7, |_| ())?;
        let apart = network(&node, "apart", 8, |configuration| {
            configuration["isolation"] = json!("tenant");
        })?;
        let (acme, bolt) = (("acme", "one"), ("bolt", "one"));
        let one = add(&open, "one", acme)?;
        let (same, other) = (add(&apart, "same", acme)?, add(&apart, "other", bolt)?);
        ensure_all("tenant", &[(acme, &one), (acme, &same)])?;
        ensure_all("tenant", &[(acme, &one), (bolt, &other)])?;
        [one, same, other].into_iter().try_for_each(Container::remove)
    })
}

/// What the host stack translates is judged by the slots that send and receive it.
#[test]
fn a_service_address_leads_to_no_container_of_another_tenant() -> Result<()> {
    const SERVICE: [&str; 2] = ["10.96.0.10", "fd00:96::10"];
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network =
            network(&node, "net", 7, |configuration| configuration["isolation"] = json!("tenant"))?;
        let server = add(&network, "server", ("acme", "one"))?;
        let (friend, stranger) = (
            add(&network, "friend", ("acme", "two"))?,
            add(&network, "stranger", ("bolt", "one"))?,
        );
        let chains = "add table inet services
            add chain inet services before { type nat hook prerouting priority dstnat ; }
            add chain inet services after { type nat hook postrouting priority srcnat ; }
            add rule inet services after masquerade";
        let mut rules = vec![chains.to_owned()];
        for (service, to) in SERVICE.into_iter().zip(server.addresses()?) {
            let family = if to.is_ipv4() { "ip" } else { "ip6" };
            rules.push(format!(
                "add rule inet services before {family} daddr {service} dnat {family} to {to}\n"
            ));
        }
        let rules = rules.join("\n");
        command::run_with_input("nft", ["-f", "-"], rules.as_bytes())?;
        let inside = server.host()?;
        let before = isolated(&node)?;
        for service in SERVICE {
            let service: IpAddr = service.parse()?;
            let listening = inside.listen((std::net::Ipv6Addr::UNSPECIFIED, 0))?;
            let port = listening.address()?.port();
            listening.exchange(&friend.host()?, (service, port).into())?;
            let refused = listening.refuses(&stranger.host()?, (service, port).into());
            refused.with_context(|| format!("a stranger at {service}"))?;
        }
        ensure!(isolated(&node)? > before, "no packet was dropped as isolated");
        [server, friend, stranger].into_iter().try_for_each(Container::remove)
    })
}

/// A slot that passes from one tenant to the next has the next one's identity from its first packet on.
#[test]
fn a_slot_has_the_identity_of_its_present_user() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 8, "scope": "network" }), |pooled| {
        pooled.fill()?;
        let apart = pooled.network_with(|configuration| {
            configuration["isolation"] = json!("tenant");
        })?;
        let (acme, bolt) = (("acme", "one"), ("bolt", "two"));
        let (of_acme, of_bolt) = (add(&apart, "a", acme)?, add(&apart, "b", bolt)?);
        let first = add(&apart, "first", acme)?;
        let slot = pooled.slot_of(&first)?;
        ensure_all("tenant", &[(acme, &first), (acme, &of_acme)])?;
        ensure_all("tenant", &[(acme, &first), (bolt, &of_bolt)])?;
        first.remove()?;
        pooled.wait_for_slot(&slot.slot, &["parked"])?;
        let next = add(&apart, "next", bolt)?;
        let again = pooled.slot_of(&next)?;
        ensure!(again.slot == slot.slot, "it has slot {}, not {}", again.slot, slot.slot);
        ensure!(again.identity == pooled.slot_of(&of_bolt)?.identity, "{again:?}");
        ensure!(again.identity != slot.identity, "{again:?} {slot:?}");
        ensure_all("tenant", &[(bolt, &next), (acme, &of_acme)])?;
        ensure_all("tenant", &[(bolt, &next), (bolt, &of_bolt)])?;
        listed(pooled, &[("acme", "one", 1), ("bolt", "two", 2)])?;
        [of_acme, of_bolt, next].into_iter().try_for_each(Container::remove)
    })
}

/// A tenant that was deleted and made again under its name is another one.
#[test]
fn what_still_runs_of_an_evicted_tenant_is_out_of_reach() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 8 }), |pooled| {
        pooled.fill()?;
        let apart = pooled.network_with(|configuration| {
            configuration["isolation"] = json!("tenant");
        })?;
        let user = ("acme", "one");
        let (one, other) = (add(&apart, "one", user)?, add(&apart, "other", user)?);
        println!("{}", pooled.repoint(&["evict", "--tenant", "acme"])?);
        let next = add(&apart, "next", user)?;
        ensure_all("tenant", &[(user, &one), (user, &other), (("acme again", "one"), &next)])?;
        [one, other, next].into_iter().try_for_each(Container::remove)
    })
}

/// Fails unless `repoint identities` has these functions with so many slots, and nothing else.
fn listed(pooled: &Pooled<'_>, expected: &[(&str, &str, usize)]) -> Result<()> {
    let shown: Value = serde_json::from_str(&pooled.repoint(&["identities", "--json"])?)?;
    println!("{}", pooled.repoint(&["identities"])?);
    let found: Vec<_> = shown
        .as_array()
        .context("no list")?
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap_or_default();
            (text("tenant"), text("function"), row["slots"].as_array().map_or(0, Vec::len))
        })
        .collect();
    ensure!(found == expected, "{found:?}");
    Ok(())
}
