//! Running `repoint sweep`, and what it reports.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Pooled, command, dist};
use serde::Deserialize;

/// What `repoint sweep --json` prints.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Exit status.
    #[serde(skip)]
    pub status: i32,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Finding {
    pub kind: String,
    pub name: String,
    pub why: String,
    pub outcome: String,
    #[serde(default)]
    pub details: Option<String>,
}

impl Report {
    /// Findings of a kind with this outcome.
    pub fn count(&self, kind: &str, outcome: &str) -> usize {
        self.findings.iter().filter(|one| one.kind == kind && one.outcome == outcome).count()
    }

    /// Fails unless there is one of this kind and outcome.
    pub fn ensure(&self, kind: &str, outcome: &str) -> Result<()> {
        ensure!(self.count(kind, outcome) > 0, "no {kind} is {outcome}: {self:#?}");
        Ok(())
    }

    /// Fails if there is any finding.
    pub fn ensure_empty(&self) -> Result<()> {
        ensure!(self.findings.is_empty() && self.status == 0, "{self:#?}");
        Ok(())
    }
}

/// Sweeps.
pub fn sweep(pooled: &Pooled<'_>, arguments: &[&str]) -> Result<Report> {
    sweep_at(pooled, &pooled.node().dirs().run, arguments)
}

/// Sweeps with another `runDir`.
pub fn sweep_at(pooled: &Pooled<'_>, run_dir: &Path, arguments: &[&str]) -> Result<Report> {
    let dirs = pooled.node().dirs();
    let mut command = Command::new(dist::cli());
    command.arg("--run-dir").arg(run_dir).arg("--bpf-dir").arg(&dirs.bpf);
    command.args(["sweep", "--json"]).args(arguments);
    let output = command::output_with_input(&mut command, &[])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let mut report: Report = serde_json::from_str(&text)
        .with_context(|| format!("it printed {text} and said {said}"))?;
    report.status = output.status.code().context("it was killed")?;
    for Finding { kind, name, why, outcome, details } in &report.findings {
        println!("  {kind} {name}: {why}: {outcome} {}", details.as_deref().unwrap_or_default());
    }
    Ok(report)
}

/// Reports what a sweep would do.
pub fn dry_run(pooled: &Pooled<'_>) -> Result<Report> {
    sweep(pooled, &["--dry-run"])
}
