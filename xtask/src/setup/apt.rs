//! Installing Debian's packages.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{command, machine, tools};

/// Installs packages, and fails rather than removing others for them.
pub fn install(packages: &[&str]) -> Result<()> {
    let Some(apt_get) = tools::find("apt-get") else { bail!(elsewhere(packages)) };
    if !machine::is_root()? {
        bail!(
            "installing needs root; run `cargo xtask setup` as root once, or:\n  \
             sudo apt-get update && sudo apt-get install --no-install-recommends {}",
            packages.join(" ")
        );
    }
    // A package source that does not answer is no error yet: the installation reports which package is
    // not available.
    if let Err(error) = command::run(&mut non_interactive(&apt_get, &["update"]), "going on") {
        eprintln!("setup: {error:#}");
    }
    let arguments = ["install", "--no-install-recommends", "--no-remove"];
    command::run(
        non_interactive(&apt_get, &arguments).args(packages),
        "the lines above say which package is in the way; where one conflicts with a package that \
         you want to keep, the other commands of `cargo xtask` do not work on this machine",
    )
}

fn non_interactive(apt_get: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(apt_get);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["--yes", "-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=300"])
        .args(arguments);
    command
}

/// Advice for a machine without apt.
fn elsewhere(packages: &[&str]) -> String {
    format!(
        "there is no apt-get here; install by hand what Debian calls\n  {}\n\
         In place of rustc-web and libstd-rust-web-dev-bpf, a nightly toolchain of rustup whose \
         LLVM is not newer than 22 does:\n  \
         rustup toolchain install nightly-2026-05-20 --component rust-src\n\
         In place of llvm-22-dev, set LLVM_PREFIX to an LLVM 22, or put bpf-linker {} in PATH.",
        packages.join(" "),
        super::BPF_LINKER.version,
    )
}
