//! Finding a compiler for the eBPF programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{command, tools};

/// The newest LLVM whose bitcode our bpf-linker reads.
const LLVM: u32 = 22;

/// The oldest compiler that takes the workspace.
const RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Debian's compiler: rustup's proxies of the same name are elsewhere.
pub(super) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Debian's prebuilt `core` for [`DEBIAN_RUSTC`].
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// A compiler for `bpfel-unknown-none`.
#[derive(Debug)]
pub enum EbpfToolchain {
    /// A nightly toolchain of rustup with rust-src: `core` is compiled with the programs.
    Nightly(PathBuf),
    /// Debian's rustc with its prebuilt `core`.
    Debian,
}

impl EbpfToolchain {
    /// What is looked for, for the reader of an error.
    pub const WHAT: &str = "compiler for bpfel-unknown-none with LLVM 22 or older: \
                            /usr/bin/rustc with core, or a nightly with rust-src";

    /// The first that there is, in the order of the variants.
    pub fn find() -> Result<Option<Self>> {
        for toolchain in nightlies_with_source()? {
            if is_usable(&toolchain.join("bin/rustc"))? {
                return Ok(Some(Self::Nightly(toolchain)));
            }
        }
        let debian = Path::new(DEBIAN_RUSTC);
        let present = debian.exists() && Path::new(DEBIAN_CORE).exists();
        Ok((present && is_usable(debian)?).then_some(Self::Debian))
    }

    /// `cargo build` with this compiler.
    pub fn cargo_build(&self) -> Command {
        match self {
            Self::Nightly(toolchain) => {
                let mut cargo = Command::new(toolchain.join("bin/cargo"));
                cargo.env("RUSTC", toolchain.join("bin/rustc")).args([
                    "build",
                    "-Z",
                    "build-std=core",
                ]);
                cargo
            }
            Self::Debian => {
                let mut cargo = tools::cargo();
                // aya-ebpf uses `feature(asm_experimental_arch)`.
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg("build");
                cargo
            }
        }
    }
}

/// Folders of rustup's nightly toolchains that have the source of `core`.
fn nightlies_with_source() -> Result<Vec<PathBuf>> {
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".rustup")));
    let Some(folder) = rustup.map(|rustup| rustup.join("toolchains")) else {
        return Ok(Vec::new());
    };
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let described = || format!("list {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(described)? {
        let toolchain = entry.with_context(described)?;
        let path = toolchain.path();
        let is_nightly = toolchain.file_name().to_string_lossy().starts_with("nightly");
        if is_nightly && path.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a compiler takes the workspace, and bpf-linker what it writes.
fn is_usable(rustc: &Path) -> Result<bool> {
    let answer = command::output(Command::new(rustc).arg("-vV"))?;
    let release = version(&answer, "release: ");
    let llvm = version(&answer, "LLVM version: ");
    Ok(release >= version(RUST, "") && llvm.is_some_and(|(major, _)| major <= LLVM))
}

/// Major and minor number in the line of `rustc -vV` that begins with `label`.
fn version(answer: &str, label: &str) -> Option<(u32, u32)> {
    let text = answer.lines().find_map(|line| line.strip_prefix(label))?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_compilers_answer() {
        let answer = "rustc 1.96.0 (ac68faa20)\nrelease: 1.96.0-nightly\nLLVM version: 22.1.8\n";
        assert_eq!(version(answer, "release: "), Some((1, 96)));
        assert_eq!(version(answer, "LLVM version: "), Some((22, 1)));
        assert_eq!(version(answer, "host: "), None);
        assert_eq!(version("1.95", ""), Some((1, 95)));
    }
}
