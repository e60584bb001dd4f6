//! `cargo xtask load` and `cargo xtask unload`: the data plane of this machine.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::{build, command, machine, paths};

/// Loads and pins the programs and maps.
pub fn load(args: &[OsString]) -> Result<()> {
    machine::require()?;
    repoint("load", args)
}

/// Removes what `load` pinned.
pub fn unload(args: &[OsString]) -> Result<()> {
    repoint("unload", args)
}

/// Becomes the CLI that was just built.
fn repoint(verb: &str, args: &[OsString]) -> Result<()> {
    build::run()?;
    let mut cli = Command::new(paths::dist().join("repoint"));
    Err(command::exec(cli.arg(verb).args(args)))
}
