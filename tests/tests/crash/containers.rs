//! Scenarios of containers in namespaces of their runtime's.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use repoint_tests::{Netns, command, kernel, traffic::Host};
use serde_json::{Value, json};

use crate::fixture::{Case, Fixture, cli};
use crate::scenario::{About, Scenario, Start, attach, gc};
use crate::state::{FURTHER, slot_of};

/// Addresses by Debian's host-local, which knows no later version.
fn delegated(configuration: &mut Value) {
    configuration["cniVersion"] = json!("1.0.0");
    configuration["ipam"]["type"] = json!("host-local");
}

/// Programs by tcx, where the kernel has it.
fn tcx(configuration: &mut Value) {
    if !kernel::lacks_tcx() {
        configuration["hook"] = json!("tcx");
    }
}

/// Gives the container's namespace another interface first.
fn furnish(_: &Fixture<'_>, case: &Case) -> Result<()> {
    let path = case.attachment.netns.as_deref().context("there is a namespace")?;
    let [one, other] = FURTHER;
    let pair = ["link", "add", one, "type", "veth", "peer", "name", other];
    Host::at("container", path)?.run(|| command::run("ip", pair).map(drop))
}

/// A namespace in which IPv6 is disabled, as Docker's and others' are.
fn disable_ipv6(_: &Fixture<'_>, case: &Case) -> Result<()> {
    let off = ["-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
    case.netns.run(|| command::run("sysctl", off)).map(drop)
}

/// A node on which new interfaces are without IPv6.
fn forbid_ipv6(_: &Fixture<'_>, _: &Case) -> Result<()> {
    set_default_ipv6("1")
}

fn set_default_ipv6(disabled: &str) -> Result<()> {
    let setting = format!("net.ipv6.conf.default.disable_ipv6={disabled}");
    command::run("sysctl", ["-qw", &setting]).map(drop)
}

/// The node has a route to the address that is given next.
fn take_next_address(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    let probe = Case::new("probe")?;
    fixture.network.add(&probe.attachment)?;
    let slot = slot_of(fixture.node, &probe)?.context("it has no slot")?;
    fixture.network.del(&probe.attachment, None)?;
    Netns::remove(probe.netns)?;
    let given = slot.addresses.iter().find_map(|address| match address.addr() {
        IpAddr::V4(address) => Some(address.to_bits()),
        IpAddr::V6(_) => None,
    });
    let next = Ipv4Addr::from_bits(given.context("it has an address")? + 1);
    command::run("ip", ["route", "add", "blackhole", &format!("{next}/32")]).map(drop)
}

fn give_address_back(_: &Fixture<'_>) -> Result<()> {
    command::run("ip", ["route", "flush", "type", "blackhole"]).map(drop)
}

pub const ALL: [Scenario; 14] = [
    Scenario {
        name: "add-forbidden-ipv6",
        before: forbid_ipv6,
        after: |_| set_default_ipv6("0"),
        ..Scenario::ADD
    },
    Scenario {
        name: "add-taken-address",
        before: take_next_address,
        after: give_address_back,
        ..Scenario::ADD
    },
    Scenario { name: "add-tcx", network: tcx, ..Scenario::ADD },
    Scenario { name: "add-further", before: furnish, ..Scenario::ADD },
    Scenario {
        name: "del-further",
        before: |fixture, case| furnish(fixture, case).and_then(|()| attach(fixture, case)),
        ..Scenario::DEL
    },
    Scenario::ADD,
    Scenario { name: "add-without-ipv6", before: disable_ipv6, ..Scenario::ADD },
    Scenario { name: "add-first", start: Start::Fresh, ..Scenario::ADD },
    Scenario { name: "add-delegated", network: delegated, ..Scenario::ADD },
    Scenario::DEL,
    Scenario { name: "del-unknown", network: delegated, before: |_, _| Ok(()), ..Scenario::DEL },
    Scenario { name: "del-delegated", network: delegated, ..Scenario::DEL },
    Scenario { name: "gc", verb: gc, ..Scenario::DEL },
    Scenario {
        name: "unload",
        start: Start::Fresh,
        before: attach,
        verb: |_, _| cli(&["unload", "--force"]),
        refusals: &["there is nothing of repoint"],
        about: About::Node,
        ..Scenario::ADD
    },
];
