//! Which boot of the machine a database is of: what it describes ends with the boot, and its file
//! should, too, but `runDir` need not be a tmpfs.

use std::fs;

/// `Documentation/admin-guide/sysctl/kernel.rst`, `random`: drawn at random at each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The number of this boot; none where the kernel does not tell.
#[must_use]
pub fn boot_id() -> Option<String> {
    let text = fs::read_to_string(BOOT_ID).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
