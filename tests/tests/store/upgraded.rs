//! Another build of repoint, of the same schema, takes over a node as it is.

use std::process::Command;

use anyhow::{Result, ensure};
use repoint_tests::{
    Pooled, command, dist, missing,
    traffic::{self, Host},
    with_pool,
};
use serde_json::json;

/// Runs the other build's CLI, which must succeed.
fn other_cli(pooled: &Pooled<'_>, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(dist::failpoints().join("repoint"));
    command.args(pooled.node().dirs().arguments()).args(arguments);
    let output = command::output_with_input(&mut command, &[])?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {}: {said}", output.status);
    Ok(said)
}

/// Slots in use and slots that wait, made by one build, serve the other, and the other way round. The
/// executables with failpoints are one that is at hand.
#[test]
fn another_build_takes_over_live_slots() -> Result<()> {
    if missing(["repoint-cni", "repoint"].map(|name| dist::failpoints().join(name))) {
        return Ok(());
    }
    with_pool(&json!({ "warm": 3, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        let (one, two) = (pooled.add()?, pooled.add()?);
        let other = pooled.network_at(&dist::failpoints().to_string_lossy())?;
        ensure!(other_cli(pooled, &["sweep", "--dry-run"])?.contains("nothing is stale"));
        one.check_by(&other)?;
        other.del(one.attachment(), Some(one.result()))?;
        one.remove_netns()?;
        let three = repoint_tests::Container::add(&other, "three")?;
        pooled.ensure_adds(&[("warm", 3)])?;
        three.check_by(pooled.network())?;
        traffic::all(&two.host()?, &three.host()?, &three.addresses()?)?;
        traffic::all(&Host::here("node")?, &two.host()?, &two.addresses()?)?;
        pooled.network().del(three.attachment(), Some(three.result()))?;
        three.remove_netns()?;
        two.remove()?;
        let stale = pooled.repoint(&["sweep"])?;
        ensure!(stale.contains("nothing is stale"), "{stale}");
        Ok(())
    })
}
