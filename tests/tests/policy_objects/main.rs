//! Policy objects on a node: applied, enforced, explained, and in force before the first packet.
#![cfg(test)]

mod activations;
mod changes;
mod counted;
mod given_labels;
mod hostile_files;
mod life;
mod lost;
mod pair;
mod recipes;
mod refused;
mod reload;

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Container, Node, cli, dist, plugin::Network, pooled::user};

/// Where the node's processes find files of policies.
const FILE: &str = "/run/policies.yaml";

/// A container of a tenant's function.
fn add<'a>(
    network: &'a Network,
    name: &str,
    (tenant, function): (&str, &str),
) -> Result<Container<'a>> {
    let user = user(tenant, function);
    Container::add_with(network, name, |attachment| attachment.args(&user))
}

/// Applies policies, in the mount namespace of the node.
fn apply(node: &Node, policies: &str) -> Result<String> {
    fs::write(FILE, policies).with_context(|| format!("write {FILE}"))?;
    ask(node, &["policy", "apply", "-f", FILE])
}

/// What a command of the CLI says, without the end of its last line.
fn ask(node: &Node, arguments: &[&str]) -> Result<String> {
    Ok(cli::repoint(node, arguments)?.trim_end().to_owned())
}

/// A `NetworkPolicy` of a tenant.
fn policy(tenant: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: \
         {tenant}}}\nspec: {spec}\n---\n"
    )
}

/// Fails where a sweep has policies or map entries to repair. Slots that came back without an agent are no fault.
fn ensure_clean(node: &Node) -> Result<()> {
    let text = sweep(node, &["--dry-run"])?;
    let is_due = ["policies", "entries"].into_iter().any(|kind| text.contains(kind));
    ensure!(!is_due, "a sweep finds {text}");
    Ok(())
}

/// Sweeps, and gives what it says.
fn sweep(node: &Node, arguments: &[&str]) -> Result<String> {
    let mut sweep = Command::new(dist::cli());
    sweep.args(node.dirs().arguments()).args(["sweep", "--grace", "0s"]).args(arguments);
    let output = sweep.output().context("run repoint")?;
    let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    ensure!(matches!(output.status.code(), Some(0 | 2)), "{}: {said}{errors}", output.status);
    Ok(said.into_owned())
}
