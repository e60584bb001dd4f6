//! A compiler for executables that are linked with musl.
//!
//! glibc asks the processor for its caches by some twenty `cpuid` instructions when a program starts, and
//! each leaves a virtual machine: 280 of the 410 µs that a program that does nothing costs there. musl
//! asks nothing.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::toolchain::DEBIAN_RUSTC;
use crate::{command, paths, tools};

/// Source of the standard library for [`DEBIAN_RUSTC`]: Debian has none built for musl.
pub const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
/// musl's C compiler, a wrapper around the system's.
pub const MUSL_GCC: &str = "musl-gcc";

/// The target.
pub fn target() -> String {
    format!("{ARCH}-unknown-linux-musl")
}

/// `cargo build` for [`target`], with `flags` for the compiler; none where there is no compiler for
/// it.
pub fn cargo_build(flags: &str) -> Result<Option<Command>> {
    let Some(gcc) = tools::find(MUSL_GCC) else {
        return Ok(None);
    };
    if !Path::new(DEBIAN_RUSTC).exists() || !Path::new(DEBIAN_SOURCE).exists() {
        return Ok(None);
    }
    let libraries = libraries(&gcc)?;
    let flags = format!("{flags} -C link-self-contained=no -L {}", libraries.display());
    let name = target().to_uppercase().replace('-', "_");
    let mut cargo = tools::cargo();
    cargo
        .env("RUSTC", DEBIAN_RUSTC)
        // `-Z build-std`.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(format!("CARGO_TARGET_{name}_LINKER"), &gcc)
        .env(format!("CARGO_TARGET_{name}_RUSTFLAGS"), flags)
        .env(format!("CC_{}", target().replace('-', "_")), &gcc)
        .args(["build", "-Z", "build-std=std,panic_abort"]);
    Ok(Some(cargo))
}

/// A folder with the unwinder that the standard library asks for, `libunwind.a`: gcc's, and what it
/// needs that musl does not have.
fn libraries(gcc: &Path) -> Result<PathBuf> {
    let folder = paths::workspace().join("target/musl/lib");
    let described = || format!("make {}", folder.display());
    fs::create_dir_all(&folder).with_context(described)?;
    let object = folder.join("dl_find_object.o");
    let source = paths::workspace().join("xtask/musl/dl_find_object.c");
    let mut compile = Command::new(gcc);
    compile.arg("-O2").arg("-c").arg(source).arg("-o").arg(&object);
    command::run(&mut compile, "musl-gcc cannot compile xtask/musl/dl_find_object.c")?;
    let script = format!("INPUT(-lgcc_eh {} -lgcc)\n", object.display());
    fs::write(folder.join("libunwind.a"), script).with_context(described)?;
    Ok(folder)
}
