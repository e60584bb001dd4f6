//! Scenarios of containers in namespaces of their runtime's.

use anyhow::Result;
use repoint_tests::command;
use serde_json::{Value, json};

use crate::ground::{Case, Ground, cli};
use crate::scenario::{About, Scenario, Start, attach, gc};

/// Addresses by Debian's host-local, which knows no later version.
fn delegated(configuration: &mut Value) {
    configuration["cniVersion"] = json!("1.0.0");
    configuration["ipam"]["type"] = json!("host-local");
}

/// A namespace in which IPv6 is disabled, as Docker's and others' are.
fn disable_ipv6(_: &Ground<'_>, case: &Case) -> Result<()> {
    let off = ["-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
    case.netns.run(|| command::run("sysctl", off)).map(drop)
}

pub const ALL: [Scenario; 8] = [
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
        about: About::Node,
        ..Scenario::ADD
    },
];
