//! Daemons that manage networks, for the tests: Debian's, unpacked and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{package, paths};

/// Folders, and the packages in each.
///
/// The managers lie over the machine's own files when they run: what they depend on is there, or in the list.
const DAEMONS: [(&str, &[&str]); 3] = [
    ("docker", &["docker.io"]),
    ("frr", &["frr", "libyang2"]),
    (
        "managers",
        &[
            "dbus-bin",
            "dbus-daemon",
            "firewalld",
            "gir1.2-glib-2.0",
            "gir1.2-nm-1.0",
            "libbluetooth3",
            "libdbus-1-3",
            "libgirepository-1.0-1",
            "libmm-glib0",
            "libndp0",
            "libnewt0.52",
            "libnm0",
            "libteamdctl0",
            "network-manager",
            "python3-cap-ng",
            "python3-dbus",
            "python3-firewall",
            "python3-gi",
            "python3-nftables",
        ],
    ),
];
/// Folders that are links to those of `usr` on the machine.
const LINKED: [&str; 3] = ["bin", "lib", "sbin"];

/// Moves files of `/lib` and its like to `/usr/lib`: an unpacked folder would hide the machine's link.
fn merge(root: &Path) -> Result<()> {
    for name in LINKED {
        let (from, to) = (root.join(name), root.join("usr").join(name));
        if from.exists() {
            let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(&to).status();
            let copied = copied.with_context(|| format!("copy {}", from.display()))?;
            ensure!(copied.success(), "copying {} to {} failed", from.display(), to.display());
            fs::remove_dir_all(&from).with_context(|| format!("remove {}", from.display()))?;
        }
    }
    Ok(())
}

/// The folder of the daemons, which are unpacked there where they are not yet.
pub fn unpack() -> Result<PathBuf> {
    let folder = paths::daemons()?;
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for (name, packages) in DAEMONS {
        let place = folder.join(name);
        if !place.exists() {
            package::unpack(packages, &place, merge)?;
        }
    }
    Ok(folder)
}
