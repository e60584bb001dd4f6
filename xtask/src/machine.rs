//! Whether this machine can run what is built: kernel, BTF, privileges.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

/// The oldest kernel that repoint supports, major and minor.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// Where the kernel publishes its types, which the programs are loaded against.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Numbers from `include/uapi/linux/capability.h`.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// One thing that loading and running repoint needs of a machine.
struct Finding {
    /// What is needed, and what was found.
    what: String,
    present: bool,
    remedy: &'static str,
}

/// Prints what this machine can and cannot do.
pub fn report() -> Result<()> {
    for Finding { what, present, remedy } in findings()? {
        if present {
            eprintln!("machine: {what}: ok");
        } else {
            eprintln!("machine: {what}: NO; {remedy}");
        }
    }
    Ok(())
}

/// Fails unless repoint can be loaded and run here, naming all that is in the way.
pub fn require() -> Result<()> {
    let lacking: Vec<String> = findings()?
        .into_iter()
        .filter(|finding| !finding.present)
        .map(|finding| format!("{}: no; {}", finding.what, finding.remedy))
        .collect();
    if !lacking.is_empty() {
        bail!("this machine can build repoint, but not run it:\n  {}", lacking.join("\n  "));
    }
    Ok(())
}

fn findings() -> Result<[Finding; 3]> {
    let release = read("/proc/sys/kernel/osrelease")?;
    let (major, minor) = OLDEST_KERNEL;
    Ok([
        Finding {
            what: format!("kernel {major}.{minor} or newer (this is {})", release.trim()),
            present: kernel_version(&release) >= Some(OLDEST_KERNEL),
            remedy: "boot a newer one",
        },
        Finding {
            what: format!("kernel with BTF ({KERNEL_BTF})"),
            present: Path::new(KERNEL_BTF).exists(),
            remedy: "boot a kernel built with CONFIG_DEBUG_INFO_BTF",
        },
        Finding {
            what: "CAP_NET_ADMIN and CAP_SYS_ADMIN".to_owned(),
            present: has_capabilities(&read("/proc/self/status")?),
            remedy: "run as root, in no container or a privileged one",
        },
    ])
}

/// Whether this process may install packages: its effective user is root.
pub fn is_root() -> Result<bool> {
    let status = read("/proc/self/status")?;
    let effective = field(&status, "Uid:").and_then(|uids| uids.split_whitespace().nth(1));
    Ok(effective == Some("0"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// Major and minor number of a release such as `6.12.9-amd64`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether `/proc/<pid>/status` shows both capabilities as effective.
fn has_capabilities(status: &str) -> bool {
    let wanted = (1_u64 << CAP_NET_ADMIN) | (1_u64 << CAP_SYS_ADMIN);
    field(status, "CapEff:")
        .and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .is_some_and(|effective| effective & wanted == wanted)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_compare_as_numbers() {
        assert_eq!(kernel_version("6.12.9-amd64\n"), Some((6, 12)));
        assert_eq!(kernel_version("6.1.0-40-cloud"), Some((6, 1)));
        assert_eq!(kernel_version("6.18"), Some((6, 18)));
        assert_eq!(kernel_version("unknown"), None);
    }

    #[test]
    fn capabilities_of_an_ordinary_container_do_not_suffice() {
        assert!(has_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!has_capabilities("CapEff:\t00000000a80425fb\n"));
        assert!(!has_capabilities("CapEff:\t0000000000000000\n"));
    }
}
