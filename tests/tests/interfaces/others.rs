//! Filters and programs of other tools, before and behind ours.

use std::{net::IpAddr, os::fd::AsFd as _};

use anyhow::{Context as _, Result};
use aya::programs::SchedClassifier;
use repoint::datapath::{AttachPoint, TO_CONTAINER, attach_tcx, detach_tcx, tcx_programs};
use repoint_common::LAYOUT_VERSION;
use repoint_tests::{
    Container, Node, command, dist, kernel,
    networks::{POOLED, network, pool},
    node::OUTSIDE,
    traffic::{self, Host},
};
use serde_json::json;

use super::skipped;

/// Name of a container's interface on the node.
fn host_ifname(container: &Container<'_>) -> Result<String> {
    let interfaces = container.result()["interfaces"].as_array().context("no interfaces")?;
    let host = interfaces.iter().find(|it| it.get("sandbox").is_none());
    let name = host.and_then(|it| it["name"].as_str()).context("no interface on the node")?;
    Ok(name.to_owned())
}

/// A container with another one to talk to, and the world.
struct Parties<'a> {
    node: &'a Node,
    one: Container<'a>,
    two: Container<'a>,
}

impl Parties<'_> {
    /// By the host stack, both ways.
    fn outside_answers(&self) -> Result<()> {
        let outside = self.node.outside_host()?;
        OUTSIDE.iter().try_for_each(|at| traffic::tcp(&self.one.host()?, &outside, *at).map(drop))
    }

    fn outside_is_silent(&self) -> Result<()> {
        let outside = self.node.outside_host()?;
        OUTSIDE.iter().try_for_each(|at| traffic::no_tcp(&self.one.host()?, &outside, *at))
    }

    fn other_answers(&self) -> Result<()> {
        traffic::all(&self.one.host()?, &self.two.host()?, &self.two.addresses()?)
    }

    fn other_is_silent(&self) -> Result<()> {
        let (one, two) = (self.one.host()?, self.two.host()?);
        let silent = |at: &IpAddr| traffic::no_tcp(&one, &two, *at);
        self.two.addresses()?.iter().try_for_each(silent)
    }
}

/// A match of every packet.
const ALL: [&str; 7] = ["protocol", "all", "u32", "match", "u32", "0", "0"];
/// A device that is down: the kernel drops what goes there.
const INTO_NOTHING: [&str; 6] = ["action", "mirred", "egress", "redirect", "dev", "hole"];
/// Priorities of filters before ours and behind ours.
const PRIORITIES: [&str; 2] = ["1", "40000"];

fn filters(hook: &'static str, local_path: &'static str) -> Result<()> {
    if skipped() || hook == "tcx" && kernel::lacks_tcx() {
        return Ok(());
    }
    for pooled in POOLED {
        let node = Node::new()?;
        node.run(|| {
            let network = network(&node, "others", 7, |configuration| {
                configuration["hook"] = json!(hook);
                configuration["localPath"] = json!(local_path);
                pool(configuration, pooled);
            })?;
            let parties = Parties {
                node: &node,
                one: Container::add(&network, "one")?,
                two: Container::add(&network, "two")?,
            };
            let name = host_ifname(&parties.one)?;
            command::run("ip", ["link", "add", "hole", "type", "ifb"])?;
            if hook == "tcx" {
                // The place is free for a queueing discipline of another tool's.
                command::run("tc", ["qdisc", "add", "dev", &name, "clsact"])?;
            }
            for direction in ["ingress", "egress"] {
                for priority in PRIORITIES {
                    println!("{hook}, {local_path}, pooled {pooled}: {direction} {priority}");
                    parties.outside_answers()?;
                    parties.other_answers()?;
                    let filter = ["dev", &name, direction, "pref", priority];
                    let drop = [&["filter", "add"][..], &filter, &ALL, &INTO_NOTHING];
                    command::run("tc", drop.concat())?;
                    parties.outside_is_silent()?;
                    if local_path == "stack" {
                        parties.other_is_silent()?;
                    }
                    command::run("tc", [&["filter", "del"][..], &filter].concat())?;
                }
            }
            parties.outside_answers()?;
            for container in [&parties.one, &parties.two] {
                container.check()?;
            }
            parties.one.remove()?;
            parties.two.remove()
        })?;
    }
    Ok(())
}

#[test]
fn filters_of_others_run_before_and_behind_ours() -> Result<()> {
    filters("clsact", "direct")
}

/// Also for what one container of the node sends to another.
#[test]
fn filters_of_others_see_packets_between_containers_where_the_network_says_so() -> Result<()> {
    filters("clsact", "stack")
}

#[test]
fn filters_of_others_run_behind_our_programs_of_tcx() -> Result<()> {
    filters("tcx", "stack")
}

/// A program that drops, attached by tcx as other tools attach theirs: it comes before clsact, and
/// behind ours where these are attached by tcx as well.
#[test]
fn programs_of_tcx_of_others_run() -> Result<()> {
    if skipped() || kernel::lacks_tcx() {
        return Ok(());
    }
    for hook in ["clsact", "tcx"] {
        let node = Node::new()?;
        node.run(|| {
            let network = network(&node, "others", 7, |configuration| {
                configuration["hook"] = json!(hook);
            })?;
            let parties = Parties {
                node: &node,
                one: Container::add(&network, "one")?,
                two: Container::add(&network, "two")?,
            };
            let ifindex = nix::net::if_::if_nametoindex(host_ifname(&parties.one)?.as_str())?;
            // What the container sends is to nobody's address for this program: it drops it.
            let pin = node.dirs().bpf.join(format!("v{LAYOUT_VERSION}")).join(TO_CONTAINER);
            let program = SchedClassifier::from_pin(&pin)?;
            let point = AttachPoint::TcxIngress(ifindex);
            parties.outside_answers()?;
            attach_tcx(point, program.fd()?.as_fd())?;
            parties.outside_is_silent()?;
            let theirs = tcx_programs(point)?.into_iter().find(|it| it.name == TO_CONTAINER);
            detach_tcx(point, theirs.context("it is not attached")?.id)?;
            parties.outside_answers()?;
            parties.other_answers()?;
            parties.one.check()?;
            parties.one.remove()?;
            parties.two.remove()
        })?;
    }
    Ok(())
}

/// Programs that were detached are found by the sweep and by CHECK, and attached again.
#[test]
fn programs_of_tcx_are_attached_again() -> Result<()> {
    if skipped() || kernel::lacks_tcx() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network =
            network(&node, "others", 7, |configuration| configuration["hook"] = json!("tcx"))?;
        let one = Container::add(&network, "one")?;
        one.check()?;
        let name = host_ifname(&one)?;
        let ifindex = nix::net::if_::if_nametoindex(name.as_str())?;
        for point in [AttachPoint::TcxIngress(ifindex), AttachPoint::TcxEgress(ifindex)] {
            let ours = tcx_programs(point)?;
            anyhow::ensure!(ours.len() == 1, "{name} has programs {ours:?}");
            detach_tcx(point, ours[0].id)?;
        }
        anyhow::ensure!(one.check().is_err(), "CHECK misses no program");
        let arguments = node.dirs().arguments();
        let sweep = arguments.iter().map(std::ffi::OsString::as_os_str).chain(["sweep".as_ref()]);
        println!("{}", command::run(&dist::cli().to_string_lossy(), sweep)?);
        one.check()?;
        let host = Host::here("node")?;
        traffic::all(&host, &one.host()?, &one.addresses()?)?;
        one.remove()
    })
}
