//! Scenarios of containers in namespaces of their runtime's.

use anyhow::{Context as _, Result};
use repoint_tests::{command, kernel, traffic::Host};
use serde_json::{Value, json};

use crate::ground::{Case, Ground, cli};
use crate::scenario::{About, Scenario, Start, attach, gc};

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
fn furnish(_: &Ground<'_>, case: &Case) -> Result<()> {
    let path = case.attachment.netns.as_deref().context("there is a namespace")?;
    let pair = ["link", "add", "other", "type", "veth", "peer", "name", "another"];
    Host::at("container", path)?.run(|| command::run("ip", pair).map(drop))
}

/// A namespace in which IPv6 is disabled, as Docker's and others' are.
fn disable_ipv6(_: &Ground<'_>, case: &Case) -> Result<()> {
    let off = ["-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
    case.netns.run(|| command::run("sysctl", off)).map(drop)
}

pub const ALL: [Scenario; 11] = [
    Scenario { name: "add-tcx", network: tcx, ..Scenario::ADD },
    Scenario { name: "add-further", before: furnish, ..Scenario::ADD },
    Scenario {
        name: "del-further",
        before: |ground, case| furnish(ground, case).and_then(|()| attach(ground, case)),
        ..Scenario::DEL
    },
    Scenario::ADD,
    Scenario { name: "add-without-ipv6", before: disable_ipv6, ..Scenario::ADD },
    Scenario { name: "add-first", start: Start::Fresh, ..Scenario::ADD },
    Scenario { name: "add-delegated", network: delegated, ..Scenario::ADD },
    Scenario::DEL,
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
