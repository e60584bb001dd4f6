//! QEMU: the machine's own, or else Debian's, downloaded by apt, unpacked, and never installed.
//!
//! Its packages may conflict with those of a machine that has other parts of QEMU.

use std::{
    env::consts::ARCH,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{command, package, tools};

/// The program.
const PROGRAM: &str = "qemu-system-x86_64";
/// Debian's package of it.
const PACKAGE: &str = "qemu-system-x86";
/// Folder of a program of the same name, which finds the libraries that were unpacked.
const FOLDER: &str = "run";

/// Path of the emulator: in `PATH`, or unpacked in `cache`.
pub(super) fn find(cache: &Path) -> Result<PathBuf> {
    if let Some(installed) = tools::find(PROGRAM) {
        return Ok(installed);
    }
    let place = cache.join(PACKAGE);
    if !place.exists() {
        let names = with_dependencies()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        package::unpack(&names, &place, finish)?;
    }
    Ok(place.join(FOLDER).join(PROGRAM))
}

/// The package, and those that it depends on and this machine does not have.
fn with_dependencies() -> Result<Vec<String>> {
    let mut simulate = Command::new("apt-get");
    simulate.args(["install", "--simulate", "--no-install-recommends", PACKAGE]);
    let text = command::output(&mut simulate)?;
    let names = installed(&text);
    ensure!(!names.is_empty(), "{PROGRAM} is not in PATH, though {PACKAGE} is installed");
    Ok(names)
}

/// The packages that a simulation of apt-get would install.
fn installed(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("Inst ")?.split(' ').next()?.to_owned());
    text.lines().filter_map(name).collect()
}

fn finish(root: &Path) -> Result<()> {
    let program = root.join(FOLDER).join(PROGRAM);
    let libraries = [format!("usr/lib/{ARCH}-linux-gnu"), format!("lib/{ARCH}-linux-gnu")];
    let libraries = libraries.map(|folder| format!("$root/{folder}")).join(":");
    let script = format!(
        "#!/bin/sh\n\
         root=$(dirname \"$(readlink -f \"$0\")\")/..\n\
         export LD_LIBRARY_PATH=\"{libraries}\"\n\
         exec \"$root/usr/bin/{PROGRAM}\" \"$@\"\n"
    );
    fs::create_dir_all(root.join(FOLDER))
        .and_then(|()| fs::write(&program, script))
        .and_then(|()| fs::set_permissions(&program, Permissions::from_mode(0o755)))
        .with_context(|| format!("write {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_a_simulation() {
        let text = "Reading package lists...\nRemv qemu-utils [1:10.0.2]\n\
                    Inst seabios (1.16.2-1 Debian:12.15/oldstable [all])\n\
                    Inst libfdt1 [1.6.0] (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n\
                    Conf seabios (1.16.2-1 Debian:12.15/oldstable [all])\n";
        assert_eq!(installed(text), ["seabios", "libfdt1"]);
    }
}
