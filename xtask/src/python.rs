//! Programs from `PyPI`, each in a virtual environment of its own, once for all checkouts of this user.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context as _, Result};

use crate::command;

/// A virtual environment at `place`, in which pip has installed what `packages` say; `what` is it for.
pub fn environment<A: AsRef<OsStr>>(place: &Path, what: &str, packages: &[A]) -> Result<PathBuf> {
    let remedy = format!("{what} comes from PyPI, by pip in a virtual environment");
    // Written last: an installation that was killed is made anew.
    let whole = place.join("installed");
    if whole.exists() {
        return Ok(place.join("bin"));
    }
    eprintln!("{what} is installed into {}", place.display());
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(place), &remedy)?;
    let mut pip = Command::new(place.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    command::run(pip.args(packages), &remedy)?;
    fs::write(&whole, process::id().to_string())
        .with_context(|| format!("write {}", whole.display()))?;
    Ok(place.join("bin"))
}
