//! Executables that can be killed between any two of their steps, for the crash tests alone.

use anyhow::{Result, ensure};

use crate::{command, paths, tools};

/// Packages and their executables.
const EXECUTABLES: [(&str, &str); 3] = [
    ("repoint-cli", "repoint"),
    ("repoint-agent", "repoint-agent"),
    ("repoint-cni", "repoint-cni"),
];
/// A text that only these executables hold: the variable that they read.
const MARK: &[u8] = b"REPOINT_FAILPOINT";

/// Builds them in the profile of tests, whose dependencies are compiled anyway, and puts them into
/// `target/failpoints`.
pub fn build() -> Result<()> {
    let folder = paths::cargo_target()?;
    for (package, name) in EXECUTABLES {
        let mut cargo = tools::cargo();
        cargo
            .current_dir(paths::workspace())
            .args(["rustc", "--package", package, "--bin", name, "--features", "failpoints"])
            .arg("--target-dir")
            .arg(&folder)
            // The tests need no debug information, with which each executable is a hundred megabytes.
            .args(["--", "-C", "strip=debuginfo"]);
        command::run(&mut cargo, "the lines above say why the executables do not build")?;
        let built = folder.join("debug").join(name);
        ensure!(are_in(&std::fs::read(&built)?), "{} has no failpoints", built.display());
        paths::place(&built, &paths::failpoints().join(name))?;
    }
    Ok(())
}

/// Whether an executable has failpoints.
pub fn are_in(executable: &[u8]) -> bool {
    executable.windows(MARK.len()).any(|bytes| bytes == MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failpoints_are_found_by_the_variable_that_they_heed() {
        assert!(are_in(b"\x7fELF..REPOINT_FAILPOINT_TRACE.."));
        assert!(!are_in(b"\x7fELF..REPOINT_FAILPOIN.."));
        assert!(!are_in(b""));
    }
}
