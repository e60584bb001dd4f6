//! Debian's packages: downloaded by apt, unpacked, and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context as _, Result, ensure};

use crate::command;

/// What may be wrong where a download fails.
const REMEDY: &str = "run `apt-get update` if apt knows a package that is not offered any more";

/// Downloads packages and unpacks them into one folder, which `finish` completes. It works beside the
/// folder's place first, so that a killed process leaves nothing that another takes for complete.
pub fn unpack(
    packages: &[&str],
    place: &Path,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let beside = place.with_file_name(format!("unpacking.{}", process::id()));
    let root = beside.join("root");
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    eprintln!("{} is unpacked into {}", packages.join(", "), place.display());
    let unpacked = unpack_beside(packages, &beside, &root).and_then(|()| finish(&root));
    let unpacked = unpacked.and_then(|()| match fs::rename(&root, place) {
        // Another process was faster.
        Err(_) if place.exists() => Ok(()),
        renamed => renamed.with_context(|| format!("move it to {}", place.display())),
    });
    fs::remove_dir_all(&beside).with_context(|| format!("remove {}", beside.display()))?;
    unpacked
}

fn unpack_beside(packages: &[&str], beside: &Path, root: &Path) -> Result<()> {
    let mut download = Command::new("apt-get");
    command::run(download.arg("download").args(packages).current_dir(beside), REMEDY)?;
    let archives = archives(beside)?;
    ensure!(archives.len() == packages.len(), "apt left {archives:?} of {packages:?}");
    archives.iter().try_for_each(|archive| {
        command::run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(root), REMEDY)
    })
}

fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files.filter(|path| path.extension().is_some_and(|kind| kind == "deb")).collect())
}
