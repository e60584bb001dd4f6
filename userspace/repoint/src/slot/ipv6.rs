//! Whether a slot's interfaces can have IPv6, and switching it on where a sysctl switched it off.

use std::{
    fmt, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

use super::{container_end::write_sysctl, fingerprint::mount_proc};
use crate::{conf::LEAST_MTU_V6, netlink::kernel_has_ipv6};

/// Why an interface cannot have IPv6 addresses, whatever its sysctls say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoIpv6 {
    /// The kernel has no IPv6.
    Kernel,
    /// The interface's MTU, in bytes, is too small.
    Mtu(u32),
}

impl NoIpv6 {
    /// What keeps an interface of this MTU, in bytes, from having IPv6, if anything does.
    #[must_use]
    pub fn of(mtu: u32) -> Option<Self> {
        if kernel_has_ipv6() {
            (mtu < LEAST_MTU_V6).then_some(Self::Mtu(mtu))
        } else {
            Some(Self::Kernel)
        }
    }
}

impl fmt::Display for NoIpv6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str(
                "the node's kernel has no IPv6 (it was started with ipv6.disable=1): start it with \
                 IPv6, or remove the network's IPv6 ranges",
            ),
            Self::Mtu(mtu) => write!(
                f,
                "an interface of MTU {mtu} has no IPv6 (RFC 8200: {LEAST_MTU_V6} at least): raise the \
                 MTU (key mtu, the template's, or the uplink's), or remove the network's IPv6 ranges"
            ),
        }
    }
}

/// A sysctl that switches IPv6 off, and that cannot be set.
#[derive(Debug, thiserror::Error)]
#[error("net/{} is 1 and cannot be set to 0: {call}: {source}", path.display())]
pub struct Ipv6Disabled {
    /// Path of the sysctl below `/proc/sys/net`.
    path: PathBuf,
    /// The system call that failed.
    call: &'static str,
    /// Its error.
    source: io::Error,
}

/// Switches IPv6 on for interfaces of the namespace that the calling thread is in, in a `/proc` of its
/// own ([`super::container_end::set_sysctls`] says why).
pub(super) fn enable_in_container(ifnames: &[&str]) -> Result<(), Ipv6Disabled> {
    let failed = |errno: Errno| Ipv6Disabled {
        path: "ipv6".into(),
        call: "mount /proc",
        source: errno.into(),
    };
    enable(mount_proc().map_err(failed)?, Path::new("sys/net"), ifnames)
}

/// The same on the node.
pub(super) fn enable_on_node(ifname: &str) -> Result<(), Ipv6Disabled> {
    enable(CWD, Path::new("/proc/sys/net"), &[ifname])
}

fn enable(proc: impl AsFd, folder: &Path, ifnames: &[&str]) -> Result<(), Ipv6Disabled> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(proc, folder, flags, Mode::empty());
    for ifname in ifnames {
        let path = Path::new("ipv6/conf").join(ifname).join("disable_ipv6");
        let written = match &opened {
            Ok(folder) => write_sysctl(folder, &path, "0"),
            Err(errno) => Err(("open", (*errno).into())),
        };
        written.map_err(|(call, source)| Ipv6Disabled { path, call, source })?;
    }
    Ok(())
}
