//! `cargo xtask build`: the eBPF object and the executables, into `target/dist`.

mod examples;
mod executables;
pub mod failpoints;
mod musl;
mod object;
mod toolchain;

pub use executables::build_program;
pub use musl::{DEBIAN_SOURCE, MUSL_GCC};
pub use toolchain::EbpfToolchain;

use anyhow::Result;

use crate::{paths, setup};

/// Builds everything, after what that needs is there.
pub fn run() -> Result<()> {
    setup::ensure(&[setup::Purpose::Build])?;
    object::build()?;
    executables::build()?;
    examples::copy()?;
    eprintln!("build: {}", paths::dist().display());
    Ok(())
}
