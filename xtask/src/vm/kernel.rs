//! Debian's kernels: downloaded by apt, unpacked, and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, package, tools};

/// What names of images begin and end with: the generic ones, of all drivers.
const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-amd64";
/// Words of other images for the same processors.
const OTHERS: [&str; 4] = ["-cloud", "-rt", "-unsigned", "-dbg"];

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The image that boots.
    pub image: PathBuf,
}

impl Kernel {
    /// The newest kernel of a series, such as 6.1, that is unpacked already in `cache`, or else that
    /// apt offers.
    pub(super) fn find(series: &str, cache: &Path) -> Result<Self> {
        fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
        let unpacked = fs::read_dir(cache).with_context(|| format!("read {}", cache.display()))?;
        let names = unpacked.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        if let Some(package) = newest(names, series) {
            return Self::at(&cache.join(&package), &package);
        }
        let offered = command::output(Command::new("apt-cache").args(["pkgnames", PREFIX]))?;
        let Some(package) = newest(offered.lines().map(str::to_owned), series) else {
            bail!(
                "apt offers no kernel {series}: add the sources of Debian's bookworm-security, and run \
                 `apt-get update`"
            );
        };
        let place = cache.join(&package);
        unpack(&package, &place)?;
        Self::at(&place, &package)
    }

    fn at(place: &Path, package: &str) -> Result<Self> {
        let image = place.join("boot").join(format!("vmlinuz-{}", release(package)));
        if !image.exists() {
            bail!("{} is not there; remove {}", image.display(), place.display());
        }
        Ok(Self { image })
    }
}

/// Downloads a kernel and unpacks it, with the index of its modules: Debian's packages make that when they
/// are installed.
fn unpack(package: &str, place: &Path) -> Result<()> {
    package::unpack(&[package], place, |root| {
        let depmod = tools::find("depmod").context("depmod is not there")?;
        let mut depmod = Command::new(depmod);
        depmod.arg("--basedir").arg(root).arg(release(package));
        command::run(&mut depmod, "install the package kmod")
    })
}

/// The kernel's release, of its package's name.
fn release(package: &str) -> &str {
    package.strip_prefix(PREFIX).unwrap_or(package)
}

/// The newest image of a series among names of packages.
fn newest(names: impl Iterator<Item = String>, series: &str) -> Option<String> {
    let is_of_series = |name: &String| {
        let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(series));
        let digit = |rest: &str| rest[1..].starts_with(|c: char| c.is_ascii_digit());
        rest.is_some_and(|rest| {
            rest.starts_with('.')
                && digit(rest)
                && rest.ends_with(SUFFIX)
                && OTHERS.iter().all(|other| !rest.contains(other))
        })
    };
    names.filter(is_of_series).max_by_key(|name| numbers(name))
}

/// The numbers in a name, which compare as versions do.
fn numbers(name: &str) -> Vec<u64> {
    let parts = name.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_generic_kernel_of_a_series_is_chosen() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-57-rt-amd64",
            "linux-image-6.1.0-58-amd64-unsigned",
            "linux-image-6.1-amd64",
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12-amd64",
            "unpacking.12",
        ];
        let newest = |series| newest(names.iter().map(|name| (*name).to_owned()), series);
        assert_eq!(newest("6.1").as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest("6.12").as_deref(), Some("linux-image-6.12.117+deb12-amd64"));
        assert_eq!(newest("6.18"), None);
        assert_eq!(release("linux-image-6.1.0-56-amd64"), "6.1.0-56-amd64");
    }
}
