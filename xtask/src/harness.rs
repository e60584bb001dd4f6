//! `cargo xtask demo`, `bench`, `endure`, `simulate` and `functions`: programs of the crate `repoint-tests`.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::Result;

use crate::{build, command, machine, paths, setup, tools};

/// The package of the programs.
const PACKAGE: &str = "repoint-tests";

/// Shows containers that talk. It measures nothing, so it is not optimised as a whole.
pub fn demo(args: &[OsString]) -> Result<()> {
    prepare()?;
    become_program(&build::build_program(PACKAGE, "demo")?, args)
}

/// Measures ADD and DEL against the reference plugins.
pub fn bench(args: &[OsString]) -> Result<()> {
    build_and_become("bench", args)
}

/// Runs thousands of containers over a pool, and reports what grows.
pub fn endure(args: &[OsString]) -> Result<()> {
    build_and_become("endure", args)
}

/// Writes the linker script of the plugin. It measures no time, so it is not optimised as a whole.
pub fn functions() -> Result<()> {
    prepare()?;
    become_program(&build::build_program(PACKAGE, "functions")?, &[])
}

/// Runs the policies of pools against traces of invocations. Needs nothing of the machine, but the
/// library embeds the eBPF object.
pub fn simulate(args: &[OsString]) -> Result<()> {
    build::run()?;
    build_program_and_become("simulate", args)
}

/// Builds what a program runs on this machine.
fn prepare() -> Result<()> {
    setup::ensure(&[setup::Purpose::Test])?;
    machine::require()?;
    build::run()
}

fn build_and_become(program: &str, args: &[OsString]) -> Result<()> {
    prepare()?;
    build_program_and_become(program, args)
}

fn build_program_and_become(program: &str, args: &[OsString]) -> Result<()> {
    let folder = paths::cargo_target()?;
    let mut cargo = tools::cargo();
    cargo
        .args(["build", "--release", "--package", PACKAGE, "--bin", program])
        .arg("--target-dir")
        .arg(&folder);
    command::run(&mut cargo, "the lines above say why it does not build")?;
    become_program(&folder.join("release").join(program), args)
}

fn become_program(path: &Path, args: &[OsString]) -> Result<()> {
    let mut built = Command::new(path);
    built
        .env("REPOINT_DIST", paths::dist())
        // `cargo run` made this for xtask. A dynamic program would search these folders at every
        // start, and the reference plugins that the benchmark measures are such.
        .env_remove("LD_LIBRARY_PATH")
        .args(args);
    Err(command::exec(&mut built))
}
