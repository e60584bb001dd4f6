//! What runs in another network namespace than the one where the interfaces are finds none of them, and
//! must conclude nothing from that.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use repoint_tests::{
    Pooled, Snapshot, command, dist,
    pooled::NAME,
    traffic::{self, Host},
    with_pool,
};
use serde_json::json;

use crate::report::{dry_run, sweep, sweep_at};

/// Runs an executable in a network namespace of its own, and gives what it says as it fails.
fn elsewhere(pooled: &Pooled<'_>, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("unshare");
    command.arg("--net").arg(program).args(pooled.node().dirs().arguments()).args(arguments);
    let output = command::output_with_input(&mut command, &[])?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(!output.status.success(), "{program} {arguments:?} succeeded: {said}");
    Ok(said)
}

/// A pod without `hostNetwork`.
#[test]
fn a_process_in_another_network_namespace_does_nothing() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let before = pooled.slots()?;
        pooled.repoint(&["pool", "set", NAME, "--warm", "5"])?;
        let (cli, agent) = (dist::cli(), dist::agent());
        for (program, arguments) in [
            (&cli, &["sweep"][..]),
            (&cli, &["sweep", "--dry-run"]),
            (&cli, &["pool", "fill", NAME]),
            (&cli, &["pool", "drain", NAME]),
            (&cli, &["unload", "--force"]),
            (&agent, &[]),
        ] {
            let said = elsewhere(pooled, &program.to_string_lossy(), arguments)?;
            println!("{arguments:?}: {said}");
            ensure!(said.contains("another network namespace"), "{arguments:?}: {said}");
            ensure!(said.contains("hostNetwork"), "{arguments:?}: {said}");
            let after = pooled.slots()?;
            ensure!(format!("{after:?}") == format!("{before:?}"), "{arguments:?}: {after:#?}");
        }
        dry_run(pooled)?.ensure_empty()?;
        one.check()?;
        one.remove()
    })
}

/// Makes a node's folders at another `runDir`.
fn load_at(pooled: &Pooled<'_>, run_dir: &Path) -> Result<()> {
    let mut load = Command::new(dist::cli());
    load.arg("--run-dir").arg(run_dir).arg("--bpf-dir").arg(&pooled.node().dirs().bpf).arg("load");
    let output = command::output_with_input(&mut load, &[])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Another `runDir`, and the same pins.
#[test]
fn slots_of_another_run_dir_are_reported_and_left() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let one = pooled.add()?;
        let dirs = pooled.node().dirs();
        let before = Snapshot::take(dirs)?;
        let other = Path::new("/run/other");
        load_at(pooled, other)?;
        for _ in 0..2 {
            let swept = sweep_at(pooled, other, &["--grace", "0s"])?;
            ensure!(swept.count("link", "left") == 3 && swept.status == 0, "{swept:#?}");
            ensure!(swept.findings.len() == 3, "{swept:#?}");
        }
        let difference = before.difference(&Snapshot::take(dirs)?);
        ensure!(difference.is_empty(), "{difference}");
        traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
        fs::remove_dir_all(other)?;
        one.check()?;
        sweep(pooled, &[])?.ensure_empty()?;
        one.remove()
    })
}
