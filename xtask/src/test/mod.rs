//! `cargo xtask test`: all tests of the workspace, and one line that counts them.

mod daemons;
mod oracle;
mod skips;
mod tally;

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{build, command, machine, paths, setup, tools};
use tally::Tally;

/// Where the conformance suite is expected beside the checkout.
const CONFORMANCE: &str = "../shared/conformance/cni-conformance";

/// What to run, and how.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Run only the tests whose name contains this
    filter: Option<String>,
    /// Run everything of the suites that otherwise run a part, drawn at random
    #[arg(long)]
    whole: bool,
    /// Fail if a test is skipped that tests/may-skip.txt does not list
    #[arg(long)]
    deny_skips: bool,
}

/// Builds, runs the tests, and closes with `N passed, N failed, N skipped`.
pub fn run(options: &Options) -> Result<()> {
    setup::ensure(&[setup::Purpose::Test])?;
    machine::require()?;
    build::run()?;
    build::failpoints::build()?;
    let mut tally = Tally::default();
    run_suites(&mut suites(options), &mut tally)?;
    if options.filter.is_none() {
        run_suites(&mut allocator(), &mut tally)?;
    }
    // The end of a long log names what failed, and why.
    tally.failures.iter().for_each(|failure| println!("{failure}"));
    let skips = if options.deny_skips { skips::check(&tally.skips) } else { Ok(()) };
    if let Err(error) = &skips {
        println!("{error}");
    }
    // A reader who has only the last lines of the log has the names.
    tally.failures.iter().for_each(|failure| println!("failed: {}", failure.name));
    println!("{tally}");
    match tally {
        Tally { failed: 1.., .. } => bail!("some tests failed"),
        Tally { passed: 0, skipped: 0, .. } => bail!("no test ran"),
        Tally { .. } => skips,
    }
}

/// `cargo test` over everything that the host compiles.
///
/// It runs one test binary after another; all of them, also when one fails.
fn suites(options: &Options) -> Command {
    let mut cargo = tools::cargo();
    cargo
        .env("REPOINT_DIST", paths::dist())
        .env("REPOINT_DIST_FAILPOINTS", paths::failpoints())
        .args(["test", "--workspace", "--exclude", "repoint-ebpf", "--no-fail-fast", "--"])
        // Without it, the output of a test that passes, and so why it was skipped, is lost.
        .arg("--show-output")
        .args(&options.filter);
    if options.whole {
        cargo.env("REPOINT_WHOLE", "1");
    }
    match daemons::unpack() {
        Ok(folder) => drop(cargo.env("REPOINT_DAEMONS", folder)),
        Err(error) => eprintln!("test: no daemons beside repoint: {error:#}"),
    }
    match oracle::python() {
        Ok(python) => drop(cargo.env("REPOINT_ORACLE_PYTHON", python)),
        Err(error) => eprintln!("test: no oracle for policies: {error:#}"),
    }
    if let Some(suite) = conformance_suite() {
        cargo.env("REPOINT_CONFORMANCE", suite);
    }
    cargo
}

/// The tests of the plugin's allocator once more, under valgrind: it tells what is read that was not
/// written, and what is read or written beyond the allocator's memory.
fn allocator() -> Command {
    // The allocator that is tested is not the executable's own: valgrind watches that as ever.
    const VALGRIND: &str = "valgrind --quiet --error-exitcode=9";
    let architecture = std::env::consts::ARCH.to_uppercase();
    let mut cargo = tools::cargo();
    cargo
        .env(format!("CARGO_TARGET_{architecture}_UNKNOWN_LINUX_GNU_RUNNER"), VALGRIND)
        // The whole workspace, as for the other tests: features are the same, and nothing is built anew.
        .args(["test", "--workspace", "--exclude", "repoint-ebpf", "--bin", "repoint-cni"])
        .args(["--", "memory::"])
        .arg("--show-output");
    cargo
}

/// The suite beside the checkout, unless the caller has named another.
fn conformance_suite() -> Option<PathBuf> {
    let beside = paths::workspace().join(CONFORMANCE);
    (std::env::var_os("REPOINT_CONFORMANCE").is_none() && beside.exists()).then_some(beside)
}

/// Runs the tests, passes on what they print as it comes, and counts.
fn run_suites(cargo: &mut Command, tally: &mut Tally) -> Result<()> {
    let failed_before = tally.failed;
    let line = command::shell_line(cargo);
    eprintln!("+ {line}");
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{line}` does not start"))?;
    let counted = child.stdout.take().map_or(Ok(()), |output| count(output, tally));
    let status = child.wait().with_context(|| format!("wait for `{line}`"))?;
    counted.with_context(|| format!("output of `{line}`"))?;
    if !status.success() {
        eprintln!("`{line}` failed ({status}); the lines above say why");
        // A test binary that crashes, or does not compile, prints no result; valgrind's is its exit status.
        tally.failed = tally.failed.max(failed_before + 1);
    }
    Ok(())
}

fn count(output: ChildStdout, tally: &mut Tally) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        stdout.write_all(&line)?;
        stdout.write_all(b"\n")?;
        tally.read(&String::from_utf8_lossy(&line));
    }
    Ok(())
}
