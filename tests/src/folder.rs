//! Folders that may not be there.

use std::{collections::BTreeSet, fs, io, path::Path};

use anyhow::{Context as _, Result};

/// Names in a folder; none when it is not there.
pub(crate) fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", folder.display())),
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .with_context(|| format!("read {}", folder.display()))
}
