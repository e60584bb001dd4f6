//! virtme-ng, from `PyPI`, once for all checkouts of this user.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context as _, Result};

use crate::command;

/// The version that is used, and no other.
const VERSION: &str = "1.42";

/// The program `vng`, in a virtual environment of its own below `tools`.
pub(super) fn virtme_ng(tools: &Path) -> Result<PathBuf> {
    let place = tools.join(format!("virtme-ng-{VERSION}"));
    let vng = place.join("bin/vng");
    // Written last: an installation that was killed is made anew.
    let whole = place.join("installed");
    if whole.exists() {
        return Ok(vng);
    }
    eprintln!("vm: virtme-ng {VERSION} (starts guests) is installed into {}", place.display());
    let remedy = "virtme-ng comes from PyPI, by pip in a virtual environment";
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place), remedy)?;
    let mut pip = Command::new(place.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]);
    command::run(pip.arg(format!("virtme-ng=={VERSION}")), remedy)?;
    fs::write(&whole, process::id().to_string())
        .with_context(|| format!("write {}", whole.display()))?;
    Ok(vng)
}
