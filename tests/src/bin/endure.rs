//! Runs thousands of containers over a pool, and reports what grows.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use repoint_tests::{
    dist::workspace,
    endurance::{self, Plan, table},
};

/// Runs pairs of ADD and DEL over a pool from two threads, and reads memory, descriptors, map entries,
/// database pages and all that can be counted on a node in between.
///
/// Prints tables; writes these, all figures and plots to target/endurance. Fails when a series rises.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask endure")]
struct Cli {
    /// ADDs with their DELs that count
    #[arg(long, default_value_t = 20_000)]
    pairs: usize,
    /// Stretches of the run, with a reading after each
    #[arg(long, default_value_t = 40)]
    stretches: usize,
    /// Write to docs/endurance instead of target/endurance
    #[arg(long)]
    save: bool,
}

fn main() -> Result<ExitCode> {
    let Cli { pairs, stretches, save } = Cli::parse();
    let report = endurance::run(Plan { pairs, stretches })?;
    let folder = workspace().join(if save { "docs/endurance" } else { "target/endurance" });
    report.save(&folder)?;
    println!("{}", table::all(&report));
    println!("{pairs} pairs, {:.1} a second, {:.2} % hits", report.rate, report.hits());
    println!("Tables, figures and plots are in {}", folder.display());
    let mut code = ExitCode::SUCCESS;
    for series in report.risen() {
        println!("{} rises: by {:.2} % over the second half", series.name, series.drift);
        code = ExitCode::FAILURE;
    }
    Ok(code)
}
