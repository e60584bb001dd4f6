//! Measures ADD and DEL against the reference plugins.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use repoint_tests::{
    bench::{self, Plan, table},
    dist::workspace,
};

/// Measures ADD and DEL of repoint against the reference plugins and a program that does nothing.
///
/// Prints tables; writes these, all figures and plots to target/bench. Missing a target is no
/// failure here.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Cli {
    /// Rounds of single calls that count
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Seed of the contestants' order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Contestants, separated by commas: floor, repoint, ptp, ptp-ipmasq, bridge-ipmasq
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write to docs/bench instead of target/bench
    #[arg(long)]
    save: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let report = bench::run(&Plan { rounds: cli.rounds, seed: cli.seed, only: cli.only })?;
    let folder = workspace().join(if cli.save { "docs/bench" } else { "target/bench" });
    report.save(&folder)?;
    println!("{}", table::all(&report));
    println!("Tables, figures and plots are in {}", folder.display());
    Ok(())
}
