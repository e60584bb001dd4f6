//! The external conformance suite against the built plugin, on a node as its host.
#![cfg(test)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Agent, Node, Snapshot, cli,
    dist::{self, REFERENCE_PLUGINS},
    example, missing, program,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Where the suite writes its outcome, on the node.
const OUTCOME: &str = "/run/conformance.json";

/// Matches the id of no check.
const NOTHING: &str = "^$";

/// Slots of a pool: fewer than a small network of the suite has addresses.
const WARM: u32 = 4;

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
        let delegates = delegates()?;
        let outcome = run_suite(&configuration, skip, &delegates)?;
        before.wait_until_restored(node.dirs())?;
        Ok(outcome)
    })?;
    ensure!(outcome.failed == 0, "failed: {:#?}", outcome.with("fail"));
    ensure!(outcome.passed > 0, "no check was run");
    Ok(outcome)
}

/// `CNI_PATH` with a host-local that runs in a session of its own. Makes that executable.
///
/// The suite kills the plugin's process group. If host-local is killed after it made the file of an address
/// and before it wrote there whose the address is, no DEL finds the file: of 1,347 kills of host-local alone,
/// 6 left one. What this plugin leaves when it is killed is to be seen, not that.
fn delegates() -> Result<String> {
    let folder = Path::new("/run/delegates");
    let script = folder.join("host-local");
    fs::create_dir_all(folder).context("make a folder for host-local")?;
    let text = format!("#!/bin/sh\nexec setsid {REFERENCE_PLUGINS}/host-local\n");
    program::script(&script, &text)?;
    Ok(format!("{}:{}", folder.display(), dist::cni_path()))
}

fn run_suite(configuration: &Value, skip: &str, cni_path: &str) -> Result<Outcome> {
    let file = Path::new("/run/configuration.json");
    fs::write(file, configuration.to_string()).context("write the configuration")?;
    let mut command = Command::new(suite());
    command.arg("--plugin").arg(dist::plugin()).arg("--conf").arg(file);
    command.args(["--cni-path", cni_path, "--skip", skip, "--json", OUTCOME]);
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    let outcome = fs::read(OUTCOME).context("the suite wrote no outcome")?;
    serde_json::from_slice(&outcome).context("outcome of the suite")
}

#[test]
fn every_group_passes() -> Result<()> {
    if missing([suite(), dist::plugin()]) {
        return Ok(());
    }
    let skipped = run("conformance.json", NOTHING)?.with("skip");
    ensure!(skipped.is_empty(), "skipped: {skipped:#?}");
    Ok(())
}

/// A network whose ADDs are served from a pool, as are those of the small networks that the suite
/// makes of it; their users trust each other. There are as many warm slots as there may be, so that
/// what ADDs need beyond is built for them and goes with DEL: the suite counts the node's interfaces
/// before and after.
#[test]
fn every_group_passes_with_a_warm_pool() -> Result<()> {
    if without_agent() {
        return Ok(());
    }
    let pool = json!({ "warm": WARM, "maxSlots": WARM, "scope": "network" });
    let skipped = run_with_pool(&pool, NOTHING)?.with("skip");
    ensure!(skipped.is_empty(), "skipped: {skipped:#?}");
    Ok(())
}

/// Pools that want more slots than a small network has addresses. Without the checks that count the
/// node's interfaces and find a pool grown by demand, or one in which slots are built again in the
/// place of those that were used.
#[test]
fn pools_that_want_every_address_leave_them_to_who_comes() -> Result<()> {
    if without_agent() {
        return Ok(());
    }
    let skip = r"^(protocol|network)\.|^lifecycle\.(parallel|no-host-residue|del-netns)|^crash\.kill-(add|del)";
    run_with_pool(&json!({ "warm": 8, "maxSlots": 64 }), skip).map(drop)
}

fn without_agent() -> bool {
    missing([suite(), dist::plugin(), dist::cli(), dist::agent()])
}

/// Runs the suite as [`run`] does, with a pool and beside an agent; nothing but pools is left then,
/// and nothing at all after `repoint unload`.
fn run_with_pool(pool: &Value, skip: &str) -> Result<Outcome> {
    let node = Node::new()?;
    let mut configuration = example("conformance.json")?;
    node.dirs().patch(&mut configuration);
    configuration["pool"].clone_from(pool);
    let outcome = node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let agent = Agent::start(&node)?;
        let outcome = run_suite(&configuration, skip, &dist::cni_path())?;
        agent.stop()?;
        served_from_pools(&node)?;
        cli::repoint(&node, &["unload"])?;
        before.wait_until_restored(node.dirs())?;
        Ok(outcome)
    })?;
    ensure!(outcome.failed == 0, "failed: {:#?}", outcome.with("fail"));
    ensure!(outcome.passed > 0, "no check was run");
    Ok(outcome)
}

/// Most ADDs must have been served from a pool; the outcomes of all are printed.
fn served_from_pools(node: &Node) -> Result<()> {
    let pools = cli::pools(node)?;
    let mut adds: BTreeMap<String, u64> = BTreeMap::new();
    for (outcome, count) in pools.iter().flat_map(|pool| &pool.adds) {
        *adds.entry(outcome.clone()).or_default() += count;
    }
    println!("{} pools; ADDs by outcome: {adds:?}", pools.len());
    let hits: u64 = pools.iter().map(|pool| pool.hits).sum();
    let declined: u64 = pools.iter().map(|pool| pool.declined).sum();
    ensure!(hits > 2 * declined, "{hits} hits, {declined} declined");
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
    run("delegated.json", new).map(drop)
}
