//! Tools that are built from crates.io, once for all checkouts of this user.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::Purpose;
use crate::{command, paths, tools};

/// A tool from crates.io.
pub struct Tool {
    /// What it is needed for.
    pub purpose: Purpose,
    /// Name of the crate and of its program.
    pub name: &'static str,
    /// The version that is used, and no other.
    pub version: &'static str,
    /// Its part in that, for a reader who wonders.
    why: &'static str,
    /// Further arguments of `cargo install`.
    arguments: &'static [&'static str],
    /// A variable of the build, and its value where the environment has none.
    variable: Option<(&'static str, &'static str)>,
}

/// Links the bitcode of the eBPF programs.
///
/// Its LLVM must be at least as new as the compiler's.
pub const BPF_LINKER: Tool = Tool {
    purpose: Purpose::Build,
    name: "bpf-linker",
    version: "0.13.0",
    why: "links the eBPF object",
    arguments: &["--no-default-features", "--features", "llvm-22"],
    variable: Some(("LLVM_PREFIX", "/usr/lib/llvm-22")),
};

/// Checks licences and sources of dependencies.
const CARGO_DENY: Tool = Tool {
    purpose: Purpose::Check,
    name: "cargo-deny",
    version: "0.20.2",
    why: "checks licences and sources of dependencies",
    arguments: &[],
    variable: None,
};

/// All of them.
pub const TOOLS: &[Tool] = &[BPF_LINKER, CARGO_DENY];

impl Tool {
    /// Path of the tool in its version: among those that we built, else in `PATH`.
    pub fn find(&self) -> Result<Option<PathBuf>> {
        let root = paths::tools()?;
        let ours = root.join("bin").join(self.name);
        // `cargo install` records there what it has put into this root.
        let installed = fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
        if ours.exists() && installed.contains(&format!("\"{} {} (", self.name, self.version)) {
            return Ok(Some(ours));
        }
        Ok(tools::find(self.name).filter(|program| {
            command::output(Command::new(program).arg("--version"))
                .is_ok_and(|answer| answer.trim().ends_with(self.version))
        }))
    }

    /// Builds the tool unless it is there.
    pub fn ensure(&self) -> Result<()> {
        if self.find()?.is_some() {
            return Ok(());
        }
        let Self { name, version, why, .. } = self;
        let root = paths::tools()?;
        eprintln!("setup: {name} {version} ({why}) is built into {}", root.display());
        let variable = self.variable.filter(|(key, _)| env::var_os(key).is_none());
        let mut install = tools::cargo();
        install
            .envs(variable)
            // Not optimised: they run for a second (bpf-linker's work is done by LLVM), and build
            // in a third of the time.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .args(["install", "--debug", "--locked", "--version", version, "--root"])
            .arg(root)
            .args(self.arguments)
            .arg(name);
        let remedy = format!("or put {name} {version} in PATH");
        command::run(&mut install, &remedy)
            .with_context(|| format!("{name} {version}, which {why}, cannot be built"))
    }
}
