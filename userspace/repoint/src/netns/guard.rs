//! Whether a namespace that a runtime made can be covered by a slot's.

use std::{
    borrow::Cow,
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, StatxAttributes, StatxFlags,
        openat, statfs, statx,
    },
    io::Errno,
};

use super::{Netns, NetnsInode};

nix::ioctl_none_bad!(
    /// `NS_GET_USERNS`: the user namespace that owns a namespace.
    ns_get_userns,
    nix::request_code_none!(0xb7, 0x1)
);

/// Sysctls that a runtime sets in a namespace before ADD, if it sets any, as CRI-O does: those that
/// Kubernetes lets every pod set, and those that people allow beside. Below `/proc/sys/net`.
const SYSCTLS: [&str; 22] = [
    "core/somaxconn",
    "ipv4/conf/all/arp_ignore",
    "ipv4/conf/all/rp_filter",
    "ipv4/ip_forward",
    "ipv4/ip_local_port_range",
    "ipv4/ip_local_reserved_ports",
    "ipv4/ip_nonlocal_bind",
    "ipv4/ip_unprivileged_port_start",
    "ipv4/ping_group_range",
    "ipv4/tcp_fin_timeout",
    "ipv4/tcp_keepalive_intvl",
    "ipv4/tcp_keepalive_probes",
    "ipv4/tcp_keepalive_time",
    "ipv4/tcp_max_syn_backlog",
    "ipv4/tcp_rmem",
    "ipv4/tcp_syncookies",
    "ipv4/tcp_tw_reuse",
    "ipv4/tcp_wmem",
    "ipv6/conf/all/accept_ra",
    "ipv6/conf/all/disable_ipv6",
    "ipv6/conf/all/forwarding",
    "ipv6/conf/default/disable_ipv6",
];

/// Sysctls of the network namespace of the thread that opens it.
const FOLDER: &str = "/proc/sys/net";

/// Most symbolic links that a path leads through, the kernel's own bound (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// Longest file that is read whole, in bytes.
const LONGEST: usize = 1024;

/// Whether the namespace is mounted at the path, not reached through `/proc`. Behind a path of `/proc`, a
/// process is inside already, and does not look at the path again.
pub fn is_mount(path: &Path) -> io::Result<bool> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE)?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Mount point of a namespace: its path, or a symbolic link's target. None: it is reached through
/// `/proc`, as [`is_mount`] has it.
///
/// The kernel mounts over a link itself (`move_mount(2)`), and runtimes open the link's target. A link of
/// `/proc` stands for an open file, which a mount over its path does not change.
pub fn mount_point(path: &Path) -> io::Result<Option<Cow<'_, Path>>> {
    let mut point = Cow::Borrowed(path);
    for _ in 0..MOST_LINKS {
        let found = statx(CWD, &*point, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)?;
        if FileType::from_raw_mode(found.stx_mode.into()) != FileType::Symlink {
            let is_mount = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
            return Ok(is_mount.then_some(point));
        }
        let folder = point.parent().unwrap_or(Path::new("/"));
        if statfs(folder)?.f_type == PROC_SUPER_MAGIC {
            return Ok(None);
        }
        point = Cow::Owned(folder.join(fs::read_link(&*point)?));
    }
    Err(Errno::LOOP.into())
}

/// Whether two network namespaces are owned by the same user namespace. An owner that this process may
/// not look at counts as another.
///
/// The function does not look up this process's own user namespace in `/proc`, which takes 20 µs for a
/// process that was not looked at before. The namespace that the process is in has the same owner as a
/// slot's.
pub fn have_same_owner(one: &Netns, other: &Netns) -> io::Result<bool> {
    Ok(match (owner(one)?, owner(other)?) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    })
}

/// The user namespace that owns a network namespace, where we may look at it.
fn owner(netns: &Netns) -> io::Result<Option<NetnsInode>> {
    // SAFETY: the request takes no argument and writes no memory; the descriptor is open.
    let Ok(owner) = (unsafe { ns_get_userns(netns.as_fd().as_raw_fd()) }) else {
        return Ok(None);
    };
    // SAFETY: the request returned a new descriptor, which no other code knows.
    let owner = File::from(unsafe { OwnedFd::from_raw_fd(owner) });
    Ok(Some(NetnsInode::of(&owner.metadata()?)))
}

/// Whether the namespace that the calling thread is in holds another interface than `lo` and `own`.
///
/// The function does not use netlink: reading a file of `/proc` costs less than a socket and its answer.
pub fn holds_others(own: Option<&str>) -> io::Result<bool> {
    let mut buffer = [0; LONGEST];
    let path = super::own("/proc/self/net/dev", "/proc/thread-self/net/dev");
    Ok(lists_others(read(CWD, path, &mut buffer)?, own))
}

/// The values of the sysctls that runtimes set, one a line, of the namespace that the calling
/// thread is in.
///
/// The first look at a sysctl in a namespace costs 6 µs, and the kernel keeps the sysctl until the
/// namespace ends. It searches the sysctls of this name of all namespaces, one after the other
/// (`proc_sys_compare`). So this is only for runtimes that set some.
pub fn sysctls() -> io::Result<Vec<u8>> {
    let folder = open_folder()?;
    let mut buffer = [0; LONGEST];
    let mut values = Vec::with_capacity(LONGEST);
    for name in SYSCTLS {
        match read(&folder, name, &mut buffer) {
            Ok(value) => values.extend(value),
            // Not every kernel has each.
            Err(Errno::NOENT) => values.push(b'\n'),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(values)
}

/// Whether one of the values that [`sysctls`] returns switches IPv6 off.
#[must_use]
pub fn disable_ipv6(values: &[u8]) -> bool {
    let lines = values.split(|byte| *byte == b'\n');
    SYSCTLS.iter().zip(lines).any(|(name, value)| name.ends_with("/disable_ipv6") && value == b"1")
}

/// Sets the sysctls of the namespace that the calling thread is in to `wanted`, as far as they are
/// not what `present` says; both as [`sysctls`] returns them.
pub fn set_sysctls(present: &[u8], wanted: &[u8]) -> io::Result<()> {
    let folder = open_folder()?;
    let lines = |values| <[u8]>::split(values, |byte| *byte == b'\n');
    for ((name, present), wanted) in SYSCTLS.iter().zip(lines(present)).zip(lines(wanted)) {
        if present != wanted {
            let file = openat(&folder, *name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(file, wanted)?;
        }
    }
    Ok(())
}

fn open_folder() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, FOLDER, flags, Mode::empty())?)
}

/// Reads a file that is not longer than the buffer, or the beginning of one: a table with one
/// interface takes 320 bytes, and what is cut off makes no difference to a longer one.
fn read<'b>(folder: impl AsFd, name: &str, buffer: &'b mut [u8]) -> rustix::io::Result<&'b [u8]> {
    let file = openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = rustix::io::read(file, &mut *buffer)?;
    Ok(&buffer[..length])
}

/// Two lines of headings, then one for each interface: its name, a colon, numbers.
fn lists_others(devices: &[u8], own: Option<&str>) -> bool {
    let lines = devices.split(|byte| *byte == b'\n').skip(2).filter(|line| !line.is_empty());
    // A name may hold a colon itself.
    let is_of = |line: &[u8], name: &str| {
        let numbers = line.trim_ascii_start().strip_prefix(name.as_bytes());
        numbers.is_some_and(|numbers| numbers.starts_with(b":") && !numbers[1..].contains(&b':'))
    };
    lines.into_iter().any(|line| !is_of(line, "lo") && !own.is_some_and(|own| is_of(line, own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: &str = "Inter-|   Receive |  Transmit\n face |bytes |bytes\n";

    #[test]
    fn lo_and_its_own_interface_are_no_others() {
        for (lines, beside_lo, beside_eth0) in [
            ("", false, false),
            ("    lo:       0       0\n", false, false),
            ("    lo:       0       0\n  eth0:    1   2\n", true, false),
            ("    lo:       0       0\n  eth0:    1   2\n  eth1:    1   2\n", true, true),
            ("  loo:   0\n", true, true),
            ("  lo:1:   0\n", true, true),
        ] {
            let devices = format!("{HEADINGS}{lines}");
            let others = |own| lists_others(devices.as_bytes(), own);
            assert_eq!((others(None), others(Some("eth0"))), (beside_lo, beside_eth0), "{lines:?}");
        }
    }

    #[test]
    fn ipv6_is_off_where_a_sysctl_says_so() {
        let with = |name: &str, value: &str| {
            let line = |other: &&str| if *other == name { value } else { "0" };
            SYSCTLS.iter().map(line).collect::<Vec<_>>().join("\n").into_bytes()
        };
        assert!(disable_ipv6(&with("ipv6/conf/all/disable_ipv6", "1")));
        assert!(disable_ipv6(&with("ipv6/conf/default/disable_ipv6", "1")));
        assert!(!disable_ipv6(&with("ipv6/conf/all/forwarding", "1")));
    }

    #[test]
    fn the_current_namespace_has_sysctls_and_is_ours() {
        let values = sysctls().unwrap();
        assert_eq!(values.split(|byte| *byte == b'\n').count(), SYSCTLS.len() + 1);
        set_sysctls(&values, &values).unwrap();
        let own = Netns::current().unwrap();
        assert!(have_same_owner(&own, &own).unwrap());
        assert!(!is_mount(Path::new("/proc/self/ns/net")).unwrap());
        assert_eq!(mount_point(Path::new("/proc/self/ns/net")).unwrap(), None);
    }
}
