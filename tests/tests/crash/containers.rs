//! Scenarios of containers in namespaces of their runtime's.

use anyhow::Result;
use repoint_tests::plugin::Attachment;
use serde_json::{Value, json};

use crate::{
    ground::{Case, Ground, Verb},
    scenario::{About, Scenario, Start},
};

pub fn ordinary(_: &mut Value) {}

fn delegated(configuration: &mut Value) {
    // Debian's host-local knows no later one.
    configuration["cniVersion"] = json!("1.0.0");
    configuration["ipam"]["type"] = json!("host-local");
}

pub fn nothing(_: &Ground<'_>, _: &Case) -> Result<()> {
    Ok(())
}

pub fn attach(ground: &Ground<'_>, case: &Case) -> Result<()> {
    ground.network.add(&case.attachment).map(drop)
}

pub fn add(ground: &Ground<'_>, case: &Case) -> Result<Verb> {
    Ok(Verb::Cni(ground.network.clone(), "ADD", case.attachment.clone()))
}

pub fn del(ground: &Ground<'_>, case: &Case) -> Result<Verb> {
    Ok(Verb::Cni(ground.network.clone(), "DEL", case.attachment.clone()))
}

/// GC for a runtime that has no container any more.
pub fn gc(ground: &Ground<'_>, _: &Case) -> Result<Verb> {
    let network = ground.network_with(|conf| conf["cni.dev/valid-attachments"] = json!([]))?;
    Ok(Verb::Cni(network, "GC", Attachment::new("", "".as_ref())))
}

pub const ALL: [Scenario; 8] = [
    Scenario {
        name: "add",
        network: ordinary,
        start: Start::Used,
        before: nothing,
        verb: add,
        about: About::Attaches,
    },
    Scenario {
        name: "add-first",
        network: ordinary,
        start: Start::Fresh,
        before: nothing,
        verb: add,
        about: About::Attaches,
    },
    Scenario {
        name: "add-delegated",
        network: delegated,
        start: Start::Used,
        before: nothing,
        verb: add,
        about: About::Attaches,
    },
    Scenario {
        name: "del",
        network: ordinary,
        start: Start::Used,
        before: attach,
        verb: del,
        about: About::Detaches,
    },
    Scenario {
        name: "del-delegated",
        network: delegated,
        start: Start::Used,
        before: attach,
        verb: del,
        about: About::Detaches,
    },
    Scenario {
        name: "gc",
        network: ordinary,
        start: Start::Used,
        before: attach,
        verb: gc,
        about: About::Detaches,
    },
    Scenario {
        name: "load",
        network: ordinary,
        start: Start::Fresh,
        before: nothing,
        verb: |ground, _| Ok(ground.cli(&["load"])),
        about: About::Node,
    },
    Scenario {
        name: "unload",
        network: ordinary,
        start: Start::Fresh,
        before: attach,
        verb: |ground, _| Ok(ground.cli(&["unload", "--force"])),
        about: About::Node,
    },
];
