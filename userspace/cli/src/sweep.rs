//! `repoint sweep`.

use std::{process::ExitCode, time::Duration};

use repoint::{
    conf::Directories,
    node::Node,
    sweep::{Outcome, Patience, RepairOutcome, Report, Sweeper},
};
use serde::Serialize;

use crate::exit;
use crate::output::{CommandError, json, said, table};

/// Arguments of `repoint sweep`.
#[derive(Debug, clap::Args)]
pub(crate) struct Sweep {
    /// Report what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// How long a slot may be on its way before the process that moves it is taken for killed; one that
    /// waits for DEL has ten times as long
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Swept<'a> {
    dry_run: bool,
    looked_microseconds: u128,
    locked_microseconds: u128,
    took_microseconds: u128,
    findings: Vec<Line<'a>>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    kind: &'static str,
    name: &'a str,
    why: &'a str,
    remedy: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

/// Sweeps the node once, and reports what was found, why, and what was done.
pub(crate) fn run(directories: &Directories, wanted: &Sweep) -> Result<ExitCode, CommandError> {
    let mut sweeper = Sweeper::new(Patience::new(wanted.grace));
    if !directories.run.exists() {
        ensure_something_is_left(directories, wanted)?;
    }
    let report = if wanted.dry_run {
        sweeper.dry_run(directories)?
    } else {
        sweeper.sweep(&Node::open(directories)?)?
    };
    let lines: Vec<_> = report.outcomes.iter().map(line).collect();
    if wanted.json {
        let Report { looked, locked, took, .. } = report;
        json(&Swept {
            dry_run: wanted.dry_run,
            looked_microseconds: looked.as_micros(),
            locked_microseconds: locked.as_micros(),
            took_microseconds: took.as_micros(),
            findings: lines,
        })?;
    } else {
        print(&lines)?;
    }
    Ok(match () {
        () if report.has_failures() => ExitCode::from(exit::FAILED),
        () if report.has_due() => ExitCode::from(exit::DUE),
        () => ExitCode::SUCCESS,
    })
}

/// Fails if the run directory is missing, unless a look finds what its node left. Then the
/// directory was removed, and is not misspelt.
fn ensure_something_is_left(directories: &Directories, wanted: &Sweep) -> Result<(), CommandError> {
    let left = Sweeper::new(Patience::new(wanted.grace)).dry_run(directories)?;
    if left.outcomes.iter().all(|outcome| matches!(outcome.outcome, RepairOutcome::Left)) {
        return Err(CommandError::NoNode { run_dir: directories.run.clone() });
    }
    Ok(())
}

fn line(outcome: &Outcome) -> Line<'_> {
    let Outcome { finding, outcome, .. } = outcome;
    let (outcome, details) = match outcome {
        RepairOutcome::Done(done) => ("done", Some(done.clone())),
        RepairOutcome::Gone => ("gone", None),
        RepairOutcome::Failed(error) => ("failed", Some(error.to_string())),
        RepairOutcome::Due => ("due", None),
        RepairOutcome::Waits => ("waits", None),
        RepairOutcome::Left => ("left", None),
    };
    let (kind, remedy) = (finding.kind.name(), finding.remedy.words());
    Line { kind, name: &finding.name, why: &finding.why, remedy, outcome, details }
}

fn print(lines: &[Line<'_>]) -> Result<(), CommandError> {
    if lines.is_empty() {
        return said("nothing is stale");
    }
    table(
        ["KIND", "NAME", "WHY", "OUTCOME"],
        lines.iter().map(|line| {
            let Line { kind, name, why, remedy, outcome, details } = line;
            let outcome = match (*outcome, details) {
                ("due", _) => format!("would: {remedy}"),
                ("waits", _) => format!("waits, then: {remedy}"),
                ("left", _) => "left alone".to_owned(),
                (outcome, Some(details)) => format!("{outcome}: {details}"),
                (outcome, None) => outcome.to_owned(),
            };
            [(*kind).to_owned(), (*name).to_owned(), (*why).to_owned(), outcome]
        }),
    )
}
