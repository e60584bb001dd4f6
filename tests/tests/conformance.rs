//! The external conformance suite against the built plugin, on a node as its host.
#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Node, Snapshot,
    dist::{self, REFERENCE_PLUGINS},
    example, missing,
};
use serde::Deserialize;
use serde_json::Value;

/// Where the suite writes its outcome, on the node.
const OUTCOME: &str = "/run/conformance.json";

#[derive(Deserialize)]
struct Outcome {
    passed: u32,
    failed: u32,
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    id: String,
    outcome: String,
    why: String,
}

impl Outcome {
    fn with(&self, outcome: &str) -> Vec<String> {
        let chosen = self.checks.iter().filter(|check| check.outcome == outcome);
        chosen.map(|check| format!("{}: {}", check.id, check.why)).collect()
    }
}

/// The suite: `REPOINT_CONFORMANCE`, or where it is beside the workspace.
fn suite() -> PathBuf {
    dist::path_from("REPOINT_CONFORMANCE", "../shared/conformance/cni-conformance")
}

/// Runs all checks but those whose id matches `skip`, prints what the suite prints, and sees that
/// none fails and nothing is left on the node: the suite does not look at maps and records.
fn run(configuration: &str, skip: &str) -> Result<Outcome> {
    let node = Node::new()?;
    let mut configuration = example(configuration)?;
    node.dirs().patch(&mut configuration);
    let outcome = node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let outcome = run_suite(&configuration, skip)?;
        before.wait_until_restored(node.dirs())?;
        Ok(outcome)
    })?;
    ensure!(outcome.failed == 0, "failed: {:#?}", outcome.with("fail"));
    ensure!(outcome.passed > 0, "no check was run");
    Ok(outcome)
}

fn run_suite(configuration: &Value, skip: &str) -> Result<Outcome> {
    let file = Path::new("/run/configuration.json");
    fs::write(file, configuration.to_string()).context("write the configuration")?;
    let mut command = Command::new(suite());
    command.arg("--plugin").arg(dist::plugin()).arg("--conf").arg(file);
    command.args(["--cni-path", &dist::cni_path(), "--skip", skip, "--json", OUTCOME]);
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    let outcome = fs::read(OUTCOME).context("the suite wrote no outcome")?;
    serde_json::from_slice(&outcome).context("outcome of the suite")
}

#[test]
fn every_group_but_crash_passes() -> Result<()> {
    if missing([suite(), dist::plugin()]) {
        return Ok(());
    }
    let outcome = run("conformance.json", r"^crash\.")?;
    let skipped = outcome.with("skip").into_iter().filter(|check| !check.starts_with("crash."));
    let skipped: Vec<String> = skipped.collect();
    ensure!(skipped.is_empty(), "skipped: {skipped:#?}");
    Ok(())
}

/// All but what needs version 1.1.0: Debian's host-local speaks 1.0.0.
#[test]
fn delegated_ipam_passes_as_well() -> Result<()> {
    let delegate = Path::new(REFERENCE_PLUGINS).join("host-local");
    if missing([suite(), dist::plugin(), delegate]) {
        return Ok(());
    }
    let new = r"^gc\.(?!status-fast$)|^result\.(schema-1\.1\.0|no-foreign-keys)$";
    run("delegated.json", &format!(r"^crash\.|{new}")).map(drop)
}
