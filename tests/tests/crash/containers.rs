//! Scenarios of containers in namespaces of their runtime's.

use serde_json::{Value, json};

use crate::ground::cli;
use crate::scenario::{About, Scenario, Start, attach, gc};

/// Addresses by Debian's host-local, which knows no later version.
fn delegated(configuration: &mut Value) {
    configuration["cniVersion"] = json!("1.0.0");
    configuration["ipam"]["type"] = json!("host-local");
}

pub const ALL: [Scenario; 7] = [
    Scenario::ADD,
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
