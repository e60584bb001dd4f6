//! Where the built executables are.

use std::{
    env, fs,
    path::{self, Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::unistd::{AccessFlags, access};
use serde_json::Value;

/// Debian's folder of the reference plugins.
pub const REFERENCE_PLUGINS: &str = "/usr/lib/cni";

/// The workspace's root.
#[must_use]
pub fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// The folder of the executables: `REPOINT_DIST`, or `target/dist` of the workspace.
#[must_use]
pub fn dist() -> PathBuf {
    path_from("REPOINT_DIST", "target/dist")
}

/// The folder of executables with failpoints, which are for tests alone: `REPOINT_DIST_FAILPOINTS`,
/// or `target/failpoints` of the workspace.
#[must_use]
pub fn failpoints() -> PathBuf {
    path_from("REPOINT_DIST_FAILPOINTS", "target/failpoints")
}

/// The path that a variable of the environment has, or that of a file or folder of the workspace.
/// It is absolute, for processes with another working directory.
#[must_use]
pub fn path_from(variable: &str, in_workspace: &str) -> PathBuf {
    let named = env::var_os(variable).and_then(|path| path::absolute(path).ok());
    named.unwrap_or_else(|| workspace().join(in_workspace))
}

/// A configuration of `docs/examples`.
pub fn example(name: &str) -> Result<Value> {
    let path = workspace().join("docs/examples").join(name);
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// The plugin's executable.
#[must_use]
pub fn plugin() -> PathBuf {
    dist().join("repoint-cni")
}

/// The operator's CLI.
#[must_use]
pub fn cli() -> PathBuf {
    dist().join("repoint")
}

/// The daemon beside the plugin.
#[must_use]
pub fn agent() -> PathBuf {
    dist().join("repoint-agent")
}

/// `CNI_PATH` with our executables and the reference plugins.
#[must_use]
pub fn cni_path() -> String {
    format!("{}:{REFERENCE_PLUGINS}", dist().display())
}

/// Whether one of these executables is missing; if so, says that the test is skipped and why.
pub fn missing<P: AsRef<Path>>(executables: impl IntoIterator<Item = P>) -> bool {
    let absent =
        executables.into_iter().find(|path| access(path.as_ref(), AccessFlags::X_OK).is_err());
    if let Some(path) = &absent {
        println!("skipped: {} is not there", path.as_ref().display());
    }
    absent.is_some()
}
