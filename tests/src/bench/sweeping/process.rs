//! `repoint sweep`, timed.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use serde::Deserialize;

use crate::{Node, dist};

/// One whole process.
pub(super) struct Process {
    /// From before it was made to after its end.
    pub wall: Duration,
    /// Time on a CPU, of all processes that this one has waited for meanwhile.
    pub cpu: Duration,
    /// The longest time in which no process could write to the database.
    pub locked: Duration,
    /// How many findings it reported.
    pub findings: usize,
}

/// What it prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    locked_microseconds: u64,
    findings: Vec<serde::de::IgnoredAny>,
}

/// Sweeps once, in the calling thread's namespaces.
pub(super) fn sweep(node: &Node) -> Result<Process> {
    let mut command = Command::new(dist::cli());
    command.args(node.dirs().arguments()).args(["sweep", "--json"]);
    let (before, start) = (children()?, Instant::now());
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let (wall, cpu) = (start.elapsed(), children()?.saturating_sub(before));
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    let reported: Report = serde_json::from_slice(&output.stdout).context("what it printed")?;
    let locked = Duration::from_micros(reported.locked_microseconds);
    Ok(Process { wall, cpu, locked, findings: reported.findings.len() })
}

/// Time on a CPU of the children that were waited for.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let time = |value: TimeVal| -> Result<Duration> {
        let microseconds = value.tv_sec() * 1_000_000 + value.tv_usec();
        Ok(Duration::from_micros(microseconds.try_into()?))
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}
