//! The executables: static, at a fixed address.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::{
    command,
    elf::{Linkage, linkage},
    paths, tools,
};

const EXECUTABLES: &[&str] = &["repoint-cni", "repoint", "repoint-agent"];

/// A static, non-PIE program starts in a quarter of the time of a dynamic one: nothing is searched,
/// mapped or relocated.
const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Builds the executables and puts them into `target/dist`.
pub fn build() -> Result<()> {
    let target = host()?;
    let folder = paths::cargo_target()?;
    let mut cargo = tools::cargo();
    cargo
        // Of the target, so that build scripts and procedural macros, which cannot be static, do
        // not get them; cargo ignores them where one of the two others is set.
        .env(format!("CARGO_TARGET_{}_RUSTFLAGS", as_variable(&target)), FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        // What is embedded is what `object` built.
        .env_remove("REPOINT_BPF_OBJECT")
        .args(["build", "--release", "--package", "repoint-cni", "--package", "repoint", "--bins"])
        .args(["--target", &target, "--target-dir"])
        .arg(&folder);
    command::run(&mut cargo, "the lines above say why the executables do not build")?;
    let built = folder.join(target).join("release");
    EXECUTABLES.iter().try_for_each(|name| deliver(&built.join(name), name))
}

fn deliver(built: &Path, name: &str) -> Result<()> {
    let found = linkage(built)?;
    ensure!(found == Linkage::Static, "{} is not static but {found:?}", built.display());
    paths::place(built, &paths::dist().join(name))
}

/// The target that the host's compiler builds for by itself.
fn host() -> Result<String> {
    let mut rustc = std::process::Command::new("rustc");
    let answer = command::output(rustc.args(["--print", "host-tuple"]))?;
    Ok(answer.trim().to_owned())
}

/// A target's name as cargo has it in names of variables.
fn as_variable(target: &str) -> String {
    target.to_uppercase().replace('-', "_")
}
