//! A function's configuration becomes a template, and templates become configurations: on this node
//! and on others, by the operations, by annotations, and within the bounds that a network sets.
#![cfg(test)]

mod alive;
mod modes;
mod operations;
mod replicate;
mod retention;
mod strength;
mod tenants;
mod trust;
mod two_nodes;

use anyhow::{Result, ensure};
use repoint_tests::{Container, Pooled, command, plugin::CniError, traffic};

/// The spec's code of a variable that is missing or malformed.
const INVALID_ENVIRONMENT: u32 = 4;
/// The spec's code of a configuration that cannot be used.
const INVALID_CONFIGURATION: u32 = 7;
/// The project's code of what the node refuses.
const NODE_FAILURE: u32 = 100;
/// The project's code of what is there already.
const ALREADY_EXISTS: u32 = 101;
/// The project's code of no address being left.
const NO_ADDRESS: u32 = 102;
/// The project's code of nothing being prepared.
const NONE_PREPARED: u32 = 105;
/// The project's code of a pool without room.
const POOL_FULL: u32 = 106;

/// Fails unless the error has this code and its text holds all of these.
fn ensure_says(error: &CniError, code: u32, parts: &[&str]) -> Result<()> {
    let said = format!("{} {}", error.msg, error.details);
    ensure!(error.code == code, "code {}, not {code}: {said}", error.code);
    for part in parts {
        ensure!(said.contains(part), "{part:?} is not in {said:?}");
    }
    Ok(())
}

/// Traffic between two containers, both ways, and from the first to the outside, in both families.
fn talk(pooled: &Pooled<'_>, one: &Container<'_>, other: &Container<'_>) -> Result<()> {
    let (inside, there) = (one.host()?, other.host()?);
    traffic::all(&inside, &there, &other.addresses()?)?;
    traffic::all(&there, &inside, &one.addresses()?)?;
    let (uplink, outside) = (pooled.node().uplink(), pooled.node().outside_host()?);
    for (own, far) in uplink.node().into_iter().zip(uplink.outside()) {
        let seen = traffic::tcp(&inside, &outside, far)?;
        ensure!(seen == own, "{far} sees {seen}, not the node's {own}");
    }
    Ok(())
}

/// Runs a script in a container's network namespace, and gives what it says.
fn shell(container: &Container<'_>, script: &str) -> Result<String> {
    container.netns().run(|| command::run("sh", ["-ec", script]))
}

/// A script that changes a container in ways that templates can describe.
const CHANGES: &str = "\
    echo 77 > /proc/sys/net/ipv4/tcp_keepalive_time
    echo 2 > /proc/sys/net/ipv4/conf/eth0/rp_filter
    ip route add 192.0.2.0/25 via 169.254.1.1 dev eth0
    ip -6 route add 2001:db8:f::/48 via fe80::1 dev eth0
    ip neigh add 192.0.2.200 lladdr 02:00:00:00:02:00 dev eth0 nud permanent
    ip -6 neigh add 2001:db8:e::1 lladdr 02:00:00:00:0e:01 dev eth0 nud permanent";

/// Fails unless a container is changed so.
fn ensure_changed(container: &Container<'_>) -> Result<()> {
    let found = shell(
        container,
        "cat /proc/sys/net/ipv4/tcp_keepalive_time /proc/sys/net/ipv4/conf/eth0/rp_filter
         ip route; ip -6 route; ip neigh show nud permanent",
    )?;
    ensure!(found.starts_with("77\n2\n"), "other sysctls:\n{found}");
    for part in [
        "192.0.2.0/25 via 169.254.1.1 dev eth0",
        "2001:db8:f::/48 via fe80::1 dev eth0",
        "192.0.2.200 dev eth0 lladdr 02:00:00:00:02:00 PERMANENT",
        "2001:db8:e::1 dev eth0 lladdr 02:00:00:00:0e:01 PERMANENT",
    ] {
        ensure!(found.contains(part), "no {part:?} in\n{found}");
    }
    Ok(())
}
