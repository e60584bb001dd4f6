//! Runs the policies of pools against traces of invocations.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use repoint_tests::{
    dist::workspace,
    simulation::{report::Report, table, trace::HOUR},
};

/// Runs the policies of pools against traces of invocations, on a virtual clock.
///
/// Prints a table; writes it, a page around it and plots to target/simulation.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask simulate")]
struct Cli {
    /// Write to docs/simulation instead of target/simulation
    #[arg(long)]
    save: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let report = Report::run(HOUR);
    let folder = workspace().join(if cli.save { "docs/simulation" } else { "target/simulation" });
    report.save(&folder)?;
    println!("{}", table::table(&report));
    println!("The page and plots are in {}", folder.display());
    Ok(())
}
