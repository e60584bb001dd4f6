//! `cargo xtask`: everything that is done with this repository, from a machine that has only Rust
//! and apt.
#![forbid(unsafe_code)]

mod build;
mod command;
mod elf;
mod harness;
mod load;
mod machine;
mod package;
mod paths;
mod python;
mod setup;
mod test;
mod tools;
mod vm;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Sets up, builds, loads, demonstrates, tests and measures repoint.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Find or install everything that building, testing and checking needs
    Setup,
    /// Build the eBPF object and the executables into target/dist
    Build,
    /// Build, then load and pin the eBPF programs and maps
    Load {
        /// Arguments of `repoint load`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build, then remove what `load` pinned
    Unload {
        /// Arguments of `repoint unload`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build, then show containers that talk, in a node of their own
    Demo {
        /// Arguments of the demonstration
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build, then run all tests
    Test(test::Options),
    /// Build, then measure ADD and DEL against the reference plugins
    Bench {
        /// Arguments of the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build, then run thousands of containers over a pool and report what grows
    Endure {
        /// Arguments of the endurance run
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build, then run the policies of pools against traces of invocations
    Simulate {
        /// Arguments of the simulation
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build, then record which functions of the plugin an ADD and a DEL run, for the linker
    Functions,
    /// Run a command in a virtual machine with a kernel of Debian's
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup => setup::run(),
        Task::Build => build::run(),
        Task::Load { args } => load::load(&args),
        Task::Unload { args } => load::unload(&args),
        Task::Demo { args } => harness::demo(&args),
        Task::Test(options) => test::run(&options),
        Task::Bench { args } => harness::bench(&args),
        Task::Endure { args } => harness::endure(&args),
        Task::Simulate { args } => harness::simulate(&args),
        Task::Functions => harness::functions(),
        Task::Vm(arguments) => return vm::run(&arguments),
    }
    .map(|()| ExitCode::SUCCESS)
}
