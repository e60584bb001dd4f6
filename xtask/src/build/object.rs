//! The eBPF object.

use anyhow::{Context as _, Result};

use super::EbpfToolchain;
use crate::{command, paths, setup::BPF_LINKER};

/// BTF is made from debug information; instructions of v3 (32-bit ALU, atomics) are older than the
/// oldest kernel that is supported.
const FLAGS: &str = "-C debuginfo=2 -C link-arg=--btf -C target-cpu=v3";

/// Variables that would put other flags in the place of [`FLAGS`], or another compiler in ours.
const NOT_OURS: &[&str] = &[
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// Builds the object, and leaves the old one alone when it is the same.
pub fn build() -> Result<()> {
    let toolchain = EbpfToolchain::find()?.context(EbpfToolchain::WHAT)?;
    let linker = BPF_LINKER.find()?.context("bpf-linker is not there; run `cargo xtask setup`")?;
    let mut cargo = toolchain.cargo_build();
    for variable in NOT_OURS {
        cargo.env_remove(variable);
    }
    cargo
        .current_dir(paths::workspace())
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS", FLAGS)
        .args(["--release", "--package", "repoint-ebpf", "--target", "bpfel-unknown-none"])
        // A folder of its own: another compiler's artefacts would throw out the host's.
        .arg("--target-dir")
        .arg(paths::bpf_target());
    command::run(&mut cargo, "the lines above say why the eBPF programs do not build")?;
    let built = paths::bpf_target().join("bpfel-unknown-none/release/repoint");
    paths::place(&built, &paths::bpf_object())?;
    paths::place(&built, &paths::dist().join("repoint.bpf.o"))
}
