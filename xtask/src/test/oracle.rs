//! The Python that runs network-config-analyzer, against which policies are compared.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use crate::{paths, python};

/// The packages, with their versions.
const REQUIREMENTS: &str = "tests/oracle/requirements.txt";

/// A Python that has the packages.
pub(super) fn python() -> Result<PathBuf> {
    let requirements = paths::workspace().join(REQUIREMENTS);
    let text = fs::read(&requirements).context(REQUIREMENTS)?;
    // Other requirements get a place of their own.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let place = paths::tools()?.join(format!("oracle-{:016x}", hasher.finish()));
    let packages = ["--requirement".into(), requirements.into_os_string()];
    Ok(python::environment(&place, "network-config-analyzer", &packages)?.join("python"))
}
