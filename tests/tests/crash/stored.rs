//! Scenarios of stored templates.

use std::fs;

use anyhow::{Context as _, Result};
use repoint::template::Operation;
use repoint_tests::{command, template::ordinary};
use serde_json::{Value, json};

use crate::{
    fixture::{Case, Fixture, Verb, cli},
    pools::fill_and_attach,
    scenario::{About, Scenario},
};

/// The template that the network's slots are made from.
const TEMPLATE: &str = "tuned";
/// The template that is made of a container.
const CAPTURED: &str = "captured";
/// Files of it, as it is and as it becomes.
const ONE: &str = "/run/one.json";
const OTHER: &str = "/run/other.json";
/// A sysctl that all of them set.
const FILTER: (&str, &str) = ("net.ipv4.conf.{interface}.rp_filter", "2");

fn from_template(configuration: &mut Value) {
    configuration["pool"] = json!({ "warm": 1, "maxSlots": 4, "template": TEMPLATE });
}

fn without_ready(configuration: &mut Value) {
    configuration["pool"] = json!({ "warm": 0, "maxSlots": 4, "template": TEMPLATE });
}

/// Writes a template that sets two sysctls.
fn write(file: &str, sysctls: [(&str, &str); 2]) -> Result<()> {
    let mut template = ordinary();
    let programs = template.operations.len() - 1;
    for (key, value) in sysctls {
        let set = Operation::SetSysctl { key: key.parse()?, value: value.to_owned() };
        template.operations.insert(programs, set);
    }
    template.operations.push(Operation::Masquerade);
    fs::write(file, template.to_json()?).with_context(|| format!("write {file}"))
}

/// Stores the template as it is in the beginning.
fn store(fixture: &Fixture<'_>) -> Result<()> {
    write(ONE, [("net.ipv4.tcp_keepalive_time", "77"), FILTER])?;
    write(OTHER, [("net.ipv4.tcp_keepalive_time", "78"), FILTER])?;
    fixture.repoint(&["template", "import", ONE, "--name", TEMPLATE]).map(drop)
}

/// Stores one that cannot be built, which is seen when the interface is there.
fn store_impossible(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    write(OTHER, [FILTER, ("net.ipv4.no_such_thing", "1")])?;
    fixture.repoint(&["template", "import", OTHER, "--name", TEMPLATE]).map(drop)
}

fn stored(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    store(fixture)
}

fn filled(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    store(fixture)?;
    fixture.fill()
}

/// A container of that template has been replicated, and then changed.
fn attached(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    store(fixture)?;
    fill_and_attach(fixture, case)?;
    fixture.fill()?;
    replicated(case).run(fixture.node, None)?.success()?;
    let change = "ip route add 192.0.2.0/25 via 169.254.1.1 dev eth0";
    case.netns.run(|| command::run("sh", ["-ec", change])).map(drop)
}

/// REPLICATE of the container, with a configuration of what it makes.
fn replicated(case: &Case) -> Verb {
    let id = &case.attachment.container_id;
    cli(&["replicate", CAPTURED, "--container", id, "--count", "1"])
}

/// What the container set is stored.
fn captured(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    attached(fixture, case)?;
    replicated(case).run(fixture.node, None)?.success().map(drop)
}

/// What was made of the container goes, too: first that of what it had before it was changed, which
/// may still have slots.
fn again_without_captured(fixture: &Fixture<'_>) -> Result<()> {
    fixture.repoint(&["template", "import", ONE, "--name", CAPTURED])?;
    fixture.repoint(&["template", "delete", CAPTURED])?;
    again(fixture)
}

const STORED: Scenario = Scenario {
    name: "template-import",
    network: from_template,
    before: filled,
    verb: |_, _| cli(&["template", "import", OTHER, "--name", TEMPLATE]),
    about: About::Node,
    after: again,
    ..Scenario::ADD
};

/// The template is what it was, and the pool is made from it.
fn again(fixture: &Fixture<'_>) -> Result<()> {
    store(fixture)?;
    fixture.configure()
}

/// ADD in the container's own namespace.
fn add_ordinarily(fixture: &Fixture<'_>, case: &Case) -> Verb {
    let none = case.attachment.clone().args("repoint.dev/mode=none");
    Verb::cni(fixture.network.clone(), "ADD", none)
}

const ADDS: Scenario = Scenario {
    name: "template-adds",
    network: without_ready,
    before: stored,
    verb: add_ordinarily,
    after: again,
    ..Scenario::ADD
};

/// ADD that fails half-way, and takes down what there is.
const IN_VAIN: Scenario = Scenario {
    name: "adds-in-vain",
    before: store_impossible,
    refusals: &["is attached already", "no_such_thing"],
    ..ADDS
};

pub const ALL: [Scenario; 8] = [
    STORED,
    Scenario {
        name: "template-delete",
        verb: |_, _| cli(&["template", "delete", TEMPLATE]),
        // It has the pools follow all the same.
        refusals: &["there is no template"],
        ..STORED
    },
    Scenario {
        name: "replicate",
        before: attached,
        verb: |_, case| replicated(case),
        after: again_without_captured,
        ..STORED
    },
    Scenario {
        name: "template-confirm",
        before: captured,
        verb: |_, _| cli(&["template", "confirm", CAPTURED, "--yes"]),
        after: again_without_captured,
        ..STORED
    },
    ADDS,
    Scenario { name: "template-builds", verb: Scenario::ADD.verb, ..ADDS },
    IN_VAIN,
    Scenario { name: "builds-in-vain", verb: Scenario::ADD.verb, ..IN_VAIN },
];
