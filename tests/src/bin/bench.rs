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
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Cli {
    /// Rounds of single calls that count
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Seed of the contestants' order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Contestants, separated by commas: floor, repoint, repoint-ipmasq, repoint-warm,
    /// repoint-warm-ipmasq, repoint-alone, repoint-own, ptp, ptp-ipmasq, bridge-ipmasq
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure a node with thousands of slots, too, which is always done without `--only`
    #[arg(long)]
    density: bool,
    /// Measure the renewal of slots, too, which is always done with `--density`
    #[arg(long)]
    renewal: bool,
    /// Measure TCP between slots, too, which is always done without `--only`
    #[arg(long)]
    traffic: bool,
    /// Write to docs/bench instead of target/bench
    #[arg(long)]
    save: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let density = cli.density || cli.only.is_empty();
    let (rounds, seed, renewal) = (cli.rounds, cli.seed, cli.renewal || density);
    let traffic = cli.traffic || cli.only.is_empty();
    let plan = Plan { rounds, seed, only: cli.only, density, renewal, traffic };
    let report = bench::run(&plan)?;
    let folder = workspace().join(if cli.save { "docs/bench" } else { "target/bench" });
    report.save(&folder)?;
    println!("{}", table::all(&report));
    println!("Tables, figures and plots are in {}", folder.display());
    Ok(())
}
