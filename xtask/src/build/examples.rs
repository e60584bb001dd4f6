//! The example network configurations.

use std::fs;

use anyhow::{Context as _, Result};

use crate::paths;

/// Copies the conflists of `docs/examples` to `target/dist/examples`.
pub fn copy() -> Result<()> {
    let examples = paths::workspace().join("docs/examples");
    let described = || format!("list {}", examples.display());
    for entry in fs::read_dir(&examples).with_context(described)? {
        let path = entry.with_context(described)?.path();
        if path.extension().is_some_and(|extension| extension == "conflist")
            && let Some(name) = path.file_name()
        {
            paths::place(&path, &paths::dist().join("examples").join(name))?;
        }
    }
    Ok(())
}
