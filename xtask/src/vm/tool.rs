//! virtme-ng, from `PyPI`, once for all checkouts of this user.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::python;

/// The version that is used, and no other.
const VERSION: &str = "1.42";

/// The program `vng`, in a virtual environment of its own below `tools`.
pub(super) fn virtme_ng(tools: &Path) -> Result<PathBuf> {
    let place = tools.join(format!("virtme-ng-{VERSION}"));
    let package = format!("virtme-ng=={VERSION}");
    let programs = python::environment(&place, "virtme-ng, which starts guests,", &[package])?;
    Ok(programs.join("vng"))
}
