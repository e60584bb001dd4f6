//! Daemons that manage networks, for the tests: Debian's, unpacked and never installed.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{package, paths};

/// Folders, and the packages in each.
const DAEMONS: [(&str, &[&str]); 2] = [("docker", &["docker.io"]), ("frr", &["frr", "libyang2"])];

/// The folder of the daemons, which are unpacked there where they are not yet.
pub fn ensure() -> Result<PathBuf> {
    let folder = paths::daemons()?;
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for (name, packages) in DAEMONS {
        let place = folder.join(name);
        if !place.exists() {
            package::unpack(packages, &place, |_| Ok(()))?;
        }
    }
    Ok(folder)
}
