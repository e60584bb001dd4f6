//! Programs and scripts that a test makes and executes.
//!
//! Other processes write the files. A test that runs beside may start a process at any moment, and that
//! process inherits each descriptor that is open here until it executes its program. Nobody can execute a file
//! that is open for writing (`ETXTBSY`).

use std::{fs, fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};

use crate::command;

/// Copies the executable `source` to `target`, whose folder is there.
pub fn copy(source: &Path, target: &Path) -> Result<()> {
    command::run("cp", [source, target]).map(drop)
}

/// Writes `text` to `path`, whose folder is there, and makes it executable.
pub fn script(path: &Path, text: &str) -> Result<()> {
    command::run_with_input("tee", [path], text.as_bytes())?;
    let rights = Permissions::from_mode(0o755);
    fs::set_permissions(path, rights).with_context(|| format!("chmod {}", path.display()))
}
