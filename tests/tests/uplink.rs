//! The node's uplink, from which slots have their MTU: the interface of the default route, however it
//! is configured.
#![cfg(test)]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike as _},
};
use repoint::netlink::{RouteSocket, routes, uplink};
use repoint_tests::{Container, Netns, Pooled, command, node::Uplink, with_network};
use serde_json::{Value, json};

/// Interfaces that a packet to the outside may leave by, with their MTUs: of the first the peer is the
/// outside's.
const LINKS: [(&str, u32); 3] = [("up0", 1400), ("up1", 1380), ("up2", 9000)];

/// Runs commands of `ip`, a line each.
fn ip(commands: &str) -> Result<()> {
    let lines = commands.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.into_iter().try_for_each(|line| {
        command::run("ip", line.split_whitespace()).with_context(|| line.to_owned()).map(drop)
    })
}

/// Adds an interface of this MTU, with its peer beside it.
fn add(name: &str, mtu: u32) -> Result<()> {
    ip(&format!(
        "link add {name} mtu {mtu} type veth peer name {name}-peer mtu {mtu}
         link set {name} up
         link set {name}-peer up"
    ))
}

/// Names of the uplink's interfaces, and its MTU, in a namespace with [`LINKS`] in which these commands
/// of `ip` were run.
fn found(commands: &str) -> Result<Option<(String, u32)>> {
    let netns = Netns::create("uplink")?;
    let found = netns.run(|| {
        ip("link set lo up")?;
        for (name, mtu) in LINKS {
            add(name, mtu)?;
        }
        ip("addr add 192.0.2.2/24 dev up0
            addr add 198.51.100.2/24 dev up1
            addr add 203.0.113.2/24 dev up2
            addr add 2001:db8:1::2/64 dev up0 nodad
            addr add 2001:db8:2::2/64 dev up1 nodad")?;
        ip(commands)?;
        Ok(uplink()?.map(|uplink| {
            let names: Vec<_> = uplink.interfaces.into_iter().map(|(_, name)| name).collect();
            (names.join(" "), uplink.mtu)
        }))
    })?;
    netns.remove()?;
    Ok(found)
}

/// A way to the outside, the commands that configure it, and what is found: names and MTU.
type Case = (&'static str, &'static str, Option<(&'static str, u32)>);

const CASES: [Case; 22] = [
    ("no way out", "", None),
    ("a default route", "route add default via 192.0.2.1", Some(("up0", 1400))),
    (
        "documentation prefixes that are refused, as BGP hosts do",
        "route add default via 192.0.2.1
         route add blackhole 203.0.113.0/25
         route add unreachable 198.51.100.128/25",
        Some(("up0", 1400)),
    ),
    (
        "a more specific route to what is asked for",
        "route add default via 192.0.2.1
         route add 203.0.113.0/25 dev up2",
        Some(("up0", 1400)),
    ),
    (
        "two metrics",
        "route add default via 192.0.2.1 metric 200
         route add default via 198.51.100.1 metric 100
         route add blackhole 203.0.113.0/25",
        Some(("up1", 1380)),
    ),
    (
        "several paths",
        "route add default nexthop via 192.0.2.1 nexthop via 198.51.100.1",
        Some(("up0 up1", 1380)),
    ),
    (
        "several paths, and a documentation prefix that is refused",
        "route add default nexthop via 192.0.2.1 nexthop via 198.51.100.1
         route add prohibit 203.0.113.0/25",
        Some(("up0 up1", 1380)),
    ),
    (
        "a group of nexthop objects",
        "nexthop add id 1 via 192.0.2.1 dev up0
         nexthop add id 2 via 198.51.100.1 dev up1
         nexthop add id 10 group 1/2
         route add default nhid 10",
        Some(("up0 up1", 1380)),
    ),
    (
        "IPv4 by a router of IPv6",
        "route add default via inet6 2001:db8:1::1 dev up0
         route add blackhole 203.0.113.0/25",
        Some(("up0", 1400)),
    ),
    (
        "a route with an MTU of its own",
        "route add default via 192.0.2.1 mtu 1350",
        Some(("up0", 1350)),
    ),
    (
        "a table of its own",
        "rule add priority 100 table 100
         route add default via 198.51.100.1 table 100
         route add blackhole 203.0.113.0/25",
        Some(("up1", 1380)),
    ),
    (
        "a tunnel for packets without its own mark, as WireGuard has it",
        "rule add priority 10 table main suppress_prefixlength 0
         rule add priority 11 not fwmark 51820 table 51820
         route add default via 192.0.2.1
         route add default dev up1 table 51820
         route add unreachable 203.0.113.0/25",
        Some(("up1", 1380)),
    ),
    (
        "a table for packets with a mark, beside the default route",
        "rule add priority 100 fwmark 1 table 100
         route add default via 198.51.100.1 table 100
         route add default via 192.0.2.1
         route add blackhole 203.0.113.0/25",
        Some(("up0", 1400)),
    ),
    (
        "a default route for packets with a mark, and no other",
        "rule add priority 100 fwmark 1 table 100
         route add default via 198.51.100.1 table 100",
        Some(("up1", 1380)),
    ),
    (
        "a default route for a source, and no other",
        "rule add priority 100 from 10.0.0.0/8 table 100
         route add default via 198.51.100.1 table 100",
        Some(("up1", 1380)),
    ),
    (
        "transparent proxying",
        "rule add priority 100 fwmark 1 table 100
         route add local default dev lo table 100
         route add default via 192.0.2.1",
        Some(("up0", 1400)),
    ),
    ("a default route by lo", "route add default dev lo", None),
    (
        "a default route by lo, and one behind it",
        "route add default dev lo
         route add default via 192.0.2.1 metric 100",
        Some(("up0", 1400)),
    ),
    (
        "a default route that refuses",
        "route add unreachable default metric 4278198272
         route add default via 192.0.2.1 metric 10",
        Some(("up0", 1400)),
    ),
    ("IPv6 alone", "-6 route add default via 2001:db8:2::1", Some(("up1", 1380))),
    (
        "IPv6 alone, in a table, by several paths",
        "-6 rule add priority 100 table 100
         -6 route add default table 100 nexthop via 2001:db8:1::1 nexthop via 2001:db8:2::1
         -6 route add unreachable ::/96",
        Some(("up0 up1", 1380)),
    ),
    (
        "both families",
        "-6 route add default via 2001:db8:2::1
         route add default via 192.0.2.1",
        Some(("up0", 1400)),
    ),
];

#[test]
fn uplink_is_where_the_default_route_leads() -> Result<()> {
    let mut wrong = 0;
    for (name, commands, wanted) in CASES {
        let found = found(commands).with_context(|| name.to_owned())?;
        let wanted = wanted.map(|(names, mtu)| (names.to_owned(), mtu));
        let verdict = if found == wanted { "ok  " } else { "FAIL" };
        println!("{verdict} {name}: {found:?}");
        wrong += usize::from(found != wanted);
    }
    ensure!(wrong == 0, "{wrong} of {} cases are wrong", CASES.len());
    Ok(())
}

/// The kernel spells nexthop objects out in routes unless `nexthop_compat_mode` is 0.
#[test]
fn nexthop_objects_are_looked_up() -> Result<()> {
    let netns = Netns::create("nexthops")?;
    let found = netns.run(|| {
        std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", "0").context("set the mode")?;
        add("up0", 1400)?;
        add("up1", 1380)?;
        ip("nexthop add id 1 dev up0
            nexthop add id 2 dev up1
            nexthop add id 10 group 1/2
            route add default nhid 10
            route add blackhole 203.0.113.0/24")?;
        Ok(uplink()?)
    })?;
    let found = found.context("no uplink")?;
    ensure!(found.interfaces.len() == 2 && found.mtu == 1380, "{found:?}");
    netns.remove()
}

/// CPU time that the thread has taken, with the kernel's work for it: it does not grow with what else the
/// machine does.
fn cpu_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).context("getrusage")?;
    let time = |time: TimeVal| {
        Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or_default())
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

/// The rest of a table is not read: with half a million routes that would take seconds.
#[test]
fn a_full_table_costs_nothing() -> Result<()> {
    const ROUTES: u32 = 20_000;
    let netns = Netns::create("full")?;
    let (found, reads) = netns.run(|| {
        add("up0", 1400)?;
        ip("route add default dev up0
            route add blackhole 203.0.113.0/24")?;
        let route = |n: u32| {
            let [_, a, b, c] = n.to_be_bytes();
            format!("route add 10.{a}.{b}.{c}/32 dev up0\n")
        };
        let batch: String = (1..=ROUTES).map(route).collect();
        command::run_with_input("ip", ["-batch", "-"], batch.as_bytes())?;
        let begin = cpu_time()?;
        let found = uplink()?;
        let by_uplink = cpu_time()?.saturating_sub(begin);
        let begin = cpu_time()?;
        routes(&mut RouteSocket::open()?)?;
        Ok((found, (by_uplink, cpu_time()?.saturating_sub(begin))))
    })?;
    println!("CPU time: the uplink {:?}, the table {:?}", reads.0, reads.1);
    ensure!(found.is_some_and(|found| found.mtu == 1400), "another MTU");
    ensure!(reads.0 * 4 < reads.1, "it was read whole: {reads:?}");
    netns.remove()
}

/// A network of both families, with a pool, whose slots have the uplink's MTU.
fn with_pool(uplink: Uplink, test: impl FnOnce(&Pooled<'_>) -> Result<()> + Send) -> Result<()> {
    let change = |configuration: &mut Value| {
        configuration["pool"] = json!({ "warm": 1, "maxSlots": 4 });
    };
    with_network(uplink, change, test)
}

fn mtu_of(container: &Container<'_>) -> Result<Option<u64>> {
    let text = container.host()?.run(|| command::run("ip", ["-json", "link", "show", "eth0"]))?;
    let links: Value = serde_json::from_str(&text)?;
    Ok(links[0]["mtu"].as_u64())
}

#[test]
fn slots_have_the_uplinks_mtu_where_documentation_prefixes_are_refused() -> Result<()> {
    with_pool(Uplink { mtu: 1400, ..Uplink::FIRST }, |pooled| {
        ip("route add blackhole 203.0.113.0/24
            route add blackhole 192.0.2.0/24
            -6 route add blackhole 2001:db8:ffff::/48")?;
        pooled.fill()?;
        let container = pooled.add()?;
        ensure!(mtu_of(&container)? == Some(1400), "{:?}", mtu_of(&container)?);
        container.remove()?;
        ip("route del blackhole 203.0.113.0/24
            route del blackhole 192.0.2.0/24
            -6 route del blackhole 2001:db8:ffff::/48")
    })
}

/// `lo` has 65536 bytes, more than a veth can have; and is no way out.
#[test]
fn slots_can_be_built_where_the_default_route_is_by_lo() -> Result<()> {
    with_pool(Uplink::FIRST, |pooled| {
        ip("route del default
            -6 route del default
            route add default dev lo")?;
        let container = pooled.add()?;
        ensure!(mtu_of(&container)? == Some(1500), "{:?}", mtu_of(&container)?);
        container.check()?;
        container.remove()?;
        ip("route del default dev lo
            route add default via 198.51.100.1
            -6 route add default via 2001:db8:1::1")
    })
}

/// The uplink's may be more than a veth can have.
#[test]
fn slots_have_the_largest_mtu_that_they_can_have() -> Result<()> {
    with_pool(Uplink::FIRST, |pooled| {
        if let Err(error) = ip("link add jumbo mtu 90000 type dummy") {
            println!("skipped: no interface of such an MTU can be made here: {error:#}");
            return Ok(());
        }
        ip("link set jumbo up
            route add default dev jumbo metric 1
            route del default via 198.51.100.1")?;
        let container = pooled.add()?;
        ensure!(mtu_of(&container)? == Some(65_535), "{:?}", mtu_of(&container)?);
        container.remove()?;
        ip("link del jumbo
            route add default via 198.51.100.1")
    })
}
