//! The harness itself, proven with a plugin that is known to work: Debian's `ptp`.
#![cfg(test)]

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};
use repoint_tests::{
    Container, Netns, Node, Snapshot, command,
    dist::REFERENCE_PLUGINS,
    missing,
    node::{NODE, NODE_V4, OUTSIDE, OUTSIDE_V4},
    plugin::Network,
    traffic::{self, Host},
};
use serde_json::{Value, json};

fn ptp(masquerade: bool) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "harness", "type": "ptp", "ipMasq": masquerade,
        "ipam": {
            "type": "host-local",
            "ranges": [[{ "subnet": "10.217.2.0/24" }]],
            "routes": [{ "dst": "0.0.0.0/0" }]
        }
    })
}

fn without_reference_plugins() -> bool {
    missing([Path::new(REFERENCE_PLUGINS).join("ptp")])
}

#[test]
fn node_and_outside_reach_each_other() -> Result<()> {
    let node = Node::new()?;
    let outside = node.outside_host()?;
    let here = node.run(|| Host::here("node"))?;
    traffic::all(&here, &outside, &OUTSIDE)?;
    traffic::all(&outside, &here, &NODE)
}

/// Two containers by ptp, traffic between them and to the outside, and their removal.
fn ptp_cycle(node: &Node) -> Result<()> {
    let network = Network::new(&ptp(true), REFERENCE_PLUGINS)?;
    let (one, two) = (Container::add(&network, "one")?, Container::add(&network, "two")?);
    traffic::all(&one.host()?, &two.host()?, &two.addresses()?)?;
    traffic::all(&two.host()?, &one.host()?, &one.addresses()?)?;
    let seen = traffic::tcp(&one.host()?, &node.outside_host()?, OUTSIDE_V4.into())?;
    ensure!(seen == NODE_V4, "the outside host sees {seen}");
    one.check()?;
    one.remove()?;
    two.remove()
}

#[test]
fn containers_of_a_reference_plugin_exchange_traffic() -> Result<()> {
    if without_reference_plugins() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        // iptables keeps its table and base chain when the last rule is gone.
        ptp_cycle(&node)?;
        let before = Snapshot::take(node.dirs())?;
        ptp_cycle(&node)?;
        before.wait_until_restored(node.dirs())
    })
}

#[test]
fn outside_has_no_route_to_containers() -> Result<()> {
    if without_reference_plugins() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = Network::new(&ptp(false), REFERENCE_PLUGINS)?;
        let container = Container::add(&network, "one")?;
        traffic::no_tcp(&container.host()?, &node.outside_host()?, OUTSIDE_V4.into())?;
        container.remove()
    })
}

#[test]
fn a_snapshot_shows_each_thing_that_is_left() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        ensure!(before == Snapshot::take(node.dirs())?, "two snapshots of the same state differ");
        let _namespace = Netns::create("left")?;
        let ip = "link add rp0 type veth peer name rp1
                  address add 10.0.0.1/32 dev rp0
                  link set rp0 up
                  route add 10.0.0.2/32 dev rp0
                  rule add from 10.0.0.2 table 100
                  neighbour add 10.0.0.2 lladdr 02:00:00:00:00:01 dev rp0 nud permanent";
        command::run_with_input("ip", ["-batch", "-"], ip.as_bytes())?;
        command::run("nft", ["add", "table", "ip", "left"])?;
        command::run("tc", ["qdisc", "add", "dev", "rp0", "clsact"])?;
        let filter = "filter add dev rp0 ingress protocol ip u32 match u32 0 0 flowid 1:1";
        command::run("tc", filter.split(' '))?;
        fs::create_dir_all("/var/lib/cni/networks/left")?;
        fs::write("/var/lib/cni/networks/left/10.0.0.2", "")?;
        let difference = before.difference(&Snapshot::take(node.dirs())?);
        for kind in [
            "interface",
            "route",
            "rule",
            "permanent neighbour",
            "nftables object",
            "qdisc",
            "filter",
            "mount",
            "named namespace",
            "allocated address",
        ] {
            ensure!(
                difference.contains(&format!("left: {kind} ")),
                "no {kind} is shown:\n{difference}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_stray_mount_fails_the_removal_of_a_namespace() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let (container, other) = (Netns::create("container")?, Netns::create("other")?);
        let [from, over] = [other.path(), container.path()].map(Path::to_string_lossy);
        command::run("mount", ["--bind", &from, &over])?;
        ensure!(container.remove().is_err(), "two mounts were removed by one unmount");
        other.remove()
    })
}

#[test]
fn a_node_ends_its_processes() -> Result<()> {
    let node = Node::new()?;
    let mut child = node.run(|| Ok(Command::new("sleep").arg("1000").spawn()?))?;
    drop(node);
    ensure!(!child.wait()?.success(), "sleep came to its end");
    Ok(())
}

#[test]
fn a_condition_that_never_holds_ends_with_the_last_reason() {
    let limit = Duration::from_millis(20);
    let outcome: Result<()> =
        repoint_tests::wait::until(limit, "it holds", || anyhow::bail!("the reason"));
    let said = outcome.err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert_eq!(said, "it holds, not after 20ms: the reason");
}
