//! `cargo xtask setup`: finds or installs what building, testing and checking need.

mod apt;
mod crates;
mod needs;

pub use crates::BPF_LINKER;
pub use needs::Purpose;

use anyhow::{Result, bail};

use crate::machine;
use needs::Need;

/// Makes everything present, and says what this machine can do.
pub fn run() -> Result<()> {
    ensure(&[Purpose::Build, Purpose::Test, Purpose::Check])?;
    eprintln!("setup: everything is here");
    machine::report()
}

/// Makes everything present that these purposes need; says nothing when it is.
pub fn ensure(purposes: &[Purpose]) -> Result<()> {
    let missing = needs::missing(purposes)?;
    if !missing.is_empty() {
        install(&missing)?;
        verify(purposes)?;
    }
    crates::TOOLS
        .iter()
        .filter(|tool| purposes.contains(&tool.purpose))
        .try_for_each(crates::Tool::ensure)
}

fn install(missing: &[&Need]) -> Result<()> {
    for need in missing {
        eprintln!(
            "setup: {} is missing ({:?}): {}",
            need.packages.join(" "),
            need.purpose,
            need.why
        );
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    apt::install(&packages)
}

/// A package that is installed may still not bring what it is wanted for: an older release of the
/// distribution, say, or a program that something else in `PATH` hides.
fn verify(purposes: &[Purpose]) -> Result<()> {
    let still: Vec<String> = needs::missing(purposes)?
        .into_iter()
        .map(|need| format!("{}: no {}", need.packages.join(" "), need.proof))
        .collect();
    if !still.is_empty() {
        bail!("installed, but not as they are needed:\n  {}", still.join("\n  "));
    }
    Ok(())
}
