//! The executables: static, at a fixed address.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use super::{failpoints, musl};
use crate::{
    command,
    elf::{Linkage, linkage},
    paths, tools,
};

/// The plugin, whose start is part of every container's.
const PLUGIN: &str = "repoint-cni";
/// The others, which are started once or by a person, and their packages.
const OTHERS: [(&str, &str); 2] = [("repoint-cli", "repoint"), ("repoint-agent", "repoint-agent")];
/// Profile of the plugin: optimised as a whole.
const PLUGIN_PROFILE: &str = "release";
/// Profile of the others, which compiles in a fraction of the time.
const TOOLS_PROFILE: &str = "tools";

/// A static, non-PIE program starts in a quarter of the time of a dynamic one: nothing is searched,
/// mapped or relocated.
///
/// SHA-256 without asking the processor what it can do: `cpuid` leaves a virtual machine, which takes
/// longer than the few hundred bytes that are digested.
const FLAGS: &str =
    "-C target-feature=+crt-static -C relocation-model=static --cfg sha2_backend=\"soft\"";

/// Builds the executables and puts them into `target/dist`, one after the other: two builds at a time
/// take as long on two cores.
pub fn build() -> Result<()> {
    let host = host()?;
    build_others(&host)?;
    build_plugin(&host)
}

fn build_plugin(host: &str) -> Result<()> {
    let plugin = [(PLUGIN, PLUGIN)];
    if let Some(cargo) = musl::cargo_build(FLAGS)? {
        return build_packages(cargo, &plugin, PLUGIN_PROFILE, &musl::target(), "musl");
    }
    eprintln!(
        "build: no compiler for {}, so {PLUGIN} is linked with the system's C library and starts \
         more slowly in a virtual machine",
        musl::target()
    );
    build_packages(host_build(host), &plugin, PLUGIN_PROFILE, host, "")
}

fn build_others(host: &str) -> Result<()> {
    build_packages(host_build(host), &OTHERS, TOOLS_PROFILE, host, "")
}

/// Builds a program of a package as the CLI and the agent are built, whose dependencies are there then.
/// Returns its path.
pub fn build_program(package: &str, program: &str) -> Result<PathBuf> {
    let (host, folder) = (host()?, paths::cargo_target()?);
    let mut cargo = host_build(&host);
    cargo
        .current_dir(paths::workspace())
        .args(["--profile", TOOLS_PROFILE, "--package", package, "--bin", program])
        .args(["--target", &host, "--target-dir"])
        .arg(&folder);
    command::run(&mut cargo, "the lines above say why it does not build")?;
    Ok(folder.join(host).join(TOOLS_PROFILE).join(program))
}

/// `cargo build` with the host's compiler, linking statically.
fn host_build(host: &str) -> Command {
    let mut cargo = tools::cargo();
    // Of the target, so that build scripts and procedural macros, which cannot be static, do not
    // get them.
    cargo.env(format!("CARGO_TARGET_{}_RUSTFLAGS", as_variable(host)), FLAGS).arg("build");
    cargo
}

/// Builds packages' executables, in a folder of `apart` where the compiler is another one: its
/// artefacts would throw out the host's.
fn build_packages(
    mut cargo: Command,
    packages: &[(&str, &str)],
    profile: &str,
    target: &str,
    apart: &str,
) -> Result<()> {
    let folder = paths::cargo_target()?.join(apart);
    cargo
        .current_dir(paths::workspace())
        // Cargo ignores flags of the target where one of these is set.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        // What is embedded is what `object` built.
        .env_remove("REPOINT_BPF_OBJECT")
        .args(["--profile", profile, "--bins"])
        .args(packages.iter().flat_map(|(package, _)| ["--package", package]))
        .args(["--target", target, "--target-dir"])
        .arg(&folder);
    command::run(&mut cargo, "the lines above say why the executables do not build")?;
    let built = folder.join(target).join(profile);
    packages.iter().try_for_each(|(_, name)| deliver(&built.join(name), name))
}

fn deliver(built: &Path, name: &str) -> Result<()> {
    let found = linkage(built)?;
    ensure!(found == Linkage::Static, "{} is not static but {found:?}", built.display());
    let has_failpoints = failpoints::are_in(&fs::read(built)?);
    ensure!(!has_failpoints, "{} has failpoints, which are for tests alone", built.display());
    paths::place(built, &paths::dist().join(name))
}

/// The target that the host's compiler builds for by itself.
fn host() -> Result<String> {
    let mut rustc = Command::new("rustc");
    let answer = command::output(rustc.args(["--print", "host-tuple"]))?;
    Ok(answer.trim().to_owned())
}

/// A target's name as cargo has it in names of variables.
fn as_variable(target: &str) -> String {
    target.to_uppercase().replace('-', "_")
}
