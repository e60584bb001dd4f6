//! The sysctls of a namespace: 690 files with `lo` and one interface.

use std::{fs, io, iter, path::PathBuf};

use rustix::fs::OFlags;

use super::{
    Budget, FingerprintError,
    files::{self, Walk, mount_proc},
    names::{self, Names},
};

/// Where they are; the folder shows those of the namespace that the reader is in.
const FOLDER: &str = "/proc/sys/net";
/// What lines of sysctls begin with.
const KIND: &str = "sysctl";
/// The key of TCP fast open, which no fingerprint holds. It reads as zeros where no key is set and where
/// a user set zeros, so its text does not show its state. Each scrub writes a random key.
const FAST_OPEN_KEY: &str = "tcp_fastopen_key";
/// The secret of stable addresses. Writing it changes how the kernel makes addresses: the scrub compares
/// it, and never restores it.
const STABLE_SECRET: &str = "stable_secret";

/// Lines of all sysctls that can be read and written. No user can have set a sysctl that cannot be
/// written, and the kernel makes its global sysctls read-only in namespaces (`ensure_safe_net_sysctl`).
pub(super) fn lines(
    names: &Names<'_>,
    budget: &mut Budget,
) -> Result<Vec<String>, FingerprintError> {
    let proc = mount_proc().map_err(files::failed(KIND, "mount", "/proc"))?;
    let folder = files::open(&proc, "sys/net", OFlags::RDONLY | OFlags::DIRECTORY);
    let folder = folder.map_err(files::failed(KIND, "open", FOLDER))?;
    let mut walk = Walk::new(KIND, &[FAST_OPEN_KEY], names, budget);
    walk.folder(&folder, "")?;
    Ok(walk.lines)
}

/// The path below `/proc/sys/net` and the value, if a line is one of a sysctl.
pub(in crate::slot) fn sysctl_of(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix(KIND)?.strip_prefix(' ')?.split_once(" = ")
}

/// Writes the value that a line holds, if it is one of a sysctl that can be restored.
pub(in crate::slot) fn write_sysctl(line: &str, ifname: &str) -> io::Result<()> {
    let Some((path, value)) = sysctl_of(line) else { return Ok(()) };
    if path.ends_with(STABLE_SECRET) {
        return Ok(());
    }
    let own = |part| if part == names::IFNAME { ifname } else { part };
    let path: PathBuf = iter::once(FOLDER).chain(path.split('/').map(own)).collect();
    fs::write(path, value)
}
