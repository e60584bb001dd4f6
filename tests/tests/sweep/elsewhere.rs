//! What runs in another network namespace than the one where the interfaces are finds none of them, and
//! must conclude nothing from that.

use std::process::Command;

use anyhow::{Result, ensure};
use repoint_tests::{Pooled, command, dist, pooled::NAME, with_pool};
use serde_json::json;

use crate::report::dry_run;

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
fn whoever_is_in_another_network_namespace_does_nothing() -> Result<()> {
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
