//! Scenarios of network policies: changes of them, and containers that start under them.

use std::{fs, mem, path::Path};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, umount2};
use repoint::datapath::PolicyMaps;
use repoint_tests::{Netns, plugin::Attachment, pooled::user};

use crate::{
    fixture::{Case, Fixture, Verb, cli},
    pools::{TENANT, as_configured, bare, of_function, ready},
    scenario::{About, Scenario},
};

/// Files of policies: as they are in the beginning, and as they become.
const ONE: &str = "/run/one-policy.yaml";
const OTHER: &str = "/run/other-policy.yaml";
/// A container beside the scenario's.
const OTHER_CONTAINER: &str = "other";
/// The function that they are about.
const FUNCTION: &str = "this";

fn write(file: &str, port: u16) -> Result<()> {
    let text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: own, namespace: \
         {TENANT}}}\nspec:\n  podSelector: {{matchLabels: {{repoint.dev/function: {FUNCTION}}}}}\n  \
         ingress: [{{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}, {{ipBlock: {{cidr: \
         192.0.2.{port}/32}}}}], ports: [{{port: {port}}}]}}]\n  egress: [{{to: [{{podSelector: {{}}}}]}}]\n"
    );
    fs::write(file, text).with_context(|| format!("write {file}"))
}

fn filled(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    fixture.fill()?;
    write(ONE, 80)?;
    write(OTHER, 81)
}

fn apply_one(fixture: &Fixture<'_>) -> Result<()> {
    write(ONE, 80)?;
    write(OTHER, 81)?;
    fixture.repoint(&["policy", "apply", "-f", ONE]).map(drop)
}

/// Slots are ready, and the policy is in force.
fn filled_and_applied(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    fixture.fill()?;
    apply_one(fixture)
}

/// None is ready.
fn applied(fixture: &Fixture<'_>, _: &Case) -> Result<()> {
    apply_one(fixture)
}

/// The function runs, without a policy.
fn running(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    filled(fixture, case)?;
    fixture.network.add(&own(case)).map(drop)
}

/// It runs, with the policy.
fn running_and_applied(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    running(fixture, case)?;
    apply_one(fixture)
}

/// The maps have lost the function's policies.
fn lost(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    running_and_applied(fixture, case)?;
    let maps = PolicyMaps::open_existing(&fixture.node.dirs().bpf)?.context("no data plane")?;
    for identity in maps.identities()?.into_keys() {
        maps.remove_identity(identity)?;
    }
    Ok(())
}

/// Another container of the function runs, with the policy.
fn other_running(fixture: &Fixture<'_>, case: &Case) -> Result<()> {
    filled_and_applied(fixture, case)?;
    let netns = Netns::create(OTHER_CONTAINER)?;
    // Former plays gave labels.
    let args = format!("{};repoint.dev/labels=none", user(TENANT, FUNCTION));
    let other = Attachment::new(OTHER_CONTAINER, netns.path()).args(&args);
    fixture.network.add(&other)?;
    // `without_other` removes it.
    mem::forget(netns);
    Ok(())
}

fn without_other(fixture: &Fixture<'_>) -> Result<()> {
    let path = Path::new("/run/netns").join(OTHER_CONTAINER);
    fixture.network.del(&Attachment::new(OTHER_CONTAINER, &path), None)?;
    while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    without_policies(fixture)
}

/// A start gives the function a label that it has not had.
fn add_with_label(fixture: &Fixture<'_>, case: &Case) -> Verb {
    let args = format!("{};repoint.dev/labels=app=web", user(TENANT, FUNCTION));
    Verb::cni(fixture.network.clone(), "ADD", case.attachment.clone().args(&args))
}

fn own(case: &Case) -> Attachment {
    of_function(case, FUNCTION)
}

fn add(fixture: &Fixture<'_>, case: &Case) -> Verb {
    Verb::cni(fixture.network.clone(), "ADD", own(case))
}

fn add_directly(fixture: &Fixture<'_>, case: &Case) -> Verb {
    let user = format!(
        "repoint.dev/mode=none;repoint.dev/function={FUNCTION};repoint.dev/tenant={TENANT}"
    );
    Verb::cni(fixture.network.clone(), "ADD", case.attachment.clone().args(&user))
}

/// No policy is stored, and no label is declared.
fn without_policies(fixture: &Fixture<'_>) -> Result<()> {
    write(ONE, 80)?;
    // It may be deleted already.
    fixture.repoint(&["policy", "apply", "-f", ONE])?;
    fixture.repoint(&["policy", "delete", "-f", ONE])?;
    fixture.repoint(&["label", "--tenant", TENANT, "--function", FUNCTION, "app-"])?;
    as_configured(fixture)
}

const CHANGE: Scenario = Scenario {
    name: "policy-apply",
    network: ready,
    before: running_and_applied,
    verb: |_, _| cli(&["policy", "apply", "-f", OTHER]),
    about: About::Node,
    after: without_policies,
    ..Scenario::ADD
};

const STARTS: Scenario = Scenario {
    name: "hit-policies",
    network: ready,
    before: filled_and_applied,
    verb: add,
    after: without_policies,
    ..Scenario::ADD
};

pub const ALL: [Scenario; 9] = [
    CHANGE,
    Scenario { name: "policy-first", before: running, ..CHANGE },
    Scenario {
        name: "policy-delete",
        verb: |_, _| cli(&["policy", "delete", "-f", ONE]),
        refusals: &["there is no policy"],
        ..CHANGE
    },
    Scenario {
        name: "policy-label",
        verb: |_, _| cli(&["label", "--tenant", TENANT, "--function", FUNCTION, "app=web"]),
        ..CHANGE
    },
    Scenario {
        name: "policy-sweep",
        before: lost,
        verb: |_, _| cli(&["sweep", "--grace", "0s"]),
        damage: &["policies"],
        ..CHANGE
    },
    STARTS,
    Scenario {
        name: "hit-labels",
        before: other_running,
        verb: add_with_label,
        after: without_other,
        damage: &["policies"],
        ..STARTS
    },
    Scenario { name: "builds-policies", network: bare, before: applied, ..STARTS },
    Scenario {
        name: "adds-policies",
        network: bare,
        before: applied,
        verb: add_directly,
        ..STARTS
    },
];
