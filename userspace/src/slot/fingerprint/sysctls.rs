//! The sysctls of a namespace: 690 files with `lo` and one interface.
//!
//! They are read in a `/proc` mounted for it. In the node's own the kernel would keep an inode for
//! each, half a megabyte for every namespace, until memory is short; and it would find each among
//! those of the same name of all namespaces that were looked at, one after the other
//! (`proc_sys_compare`).

use std::{
    fs::{self, File},
    io, iter,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::PathBuf,
};

use rustix::{
    fs::{Dir, FileType, Mode, OFlags, openat},
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

use super::{
    FingerprintError,
    names::{self, Names},
};

/// Where they are; the folder shows those of the namespace of whoever looks.
const FOLDER: &str = "/proc/sys/net";

/// Most that is read of a value at first: the kernel makes and clears a buffer of the size asked
/// for, each time (`proc_sys_call_handler`).
const SHORT: usize = 256;
/// Most that is read of a long one: `ip_local_reserved_ports` lists every other port.
const LONG: usize = 256 * 1024;
/// What lines of sysctls begin with.
const PREFIX: &str = "sysctl ";

/// Lines of all sysctls that can be read and written. What cannot be written no user has set, and
/// the kernel makes its global ones read-only in namespaces (`ensure_safe_net_sysctl`).
pub(super) fn lines(names: &Names<'_>) -> Result<Vec<String>, FingerprintError> {
    let proc = mount_proc().map_err(failed("mount", "/proc"))?;
    let folder = open(&proc, "sys/net", OFlags::DIRECTORY).map_err(failed("open", FOLDER))?;
    let mut walk = Walk { names, lines: Vec::new(), buffer: Vec::new() };
    walk.folder(&folder, "")?;
    Ok(walk.lines)
}

/// A `/proc` that nobody else sees, gone when the descriptor is closed.
pub(in crate::slot) fn mount_proc() -> Result<OwnedFd, Errno> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// The path below `/proc/sys/net` and the value, if a line is one of a sysctl.
pub(in crate::slot) fn sysctl_of(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix(PREFIX)?.split_once(" = ")
}

/// Writes the value that a line tells, if it is one of a sysctl.
pub(in crate::slot) fn write_sysctl(line: &str, ifname: &str) -> io::Result<()> {
    let Some((path, value)) = sysctl_of(line) else { return Ok(()) };
    let own = |part| if part == names::IFNAME { ifname } else { part };
    let path: PathBuf = iter::once(FOLDER).chain(path.split('/').map(own)).collect();
    fs::write(path, value)
}

struct Walk<'a> {
    names: &'a Names<'a>,
    lines: Vec<String>,
    buffer: Vec<u8>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &OwnedFd, below: &str) -> Result<(), FingerprintError> {
        let shown = if below.is_empty() { "." } else { below };
        let entries = Dir::read_from(folder).map_err(failed("read", shown))?;
        for entry in entries {
            let entry = entry.map_err(failed("read", shown))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let part = self.names.text(name);
            let path = if below.is_empty() { part } else { format!("{below}/{part}") };
            match entry.file_type() {
                _ if matches!(name, "." | "..") => {}
                FileType::Directory => {
                    let inner = open(folder, name, OFlags::DIRECTORY);
                    self.folder(&inner.map_err(failed("open", &path))?, &path)?;
                }
                _ => self.file(folder, name, path)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: &OwnedFd, name: &str, path: String) -> Result<(), FingerprintError> {
        let file = match open(folder, name, OFlags::RDWR) {
            // Not to be written, or not to be read: no part. Or its link went meanwhile.
            Err(Errno::ACCESS | Errno::PERM | Errno::NOENT) => return Ok(()),
            file => File::from(file.map_err(failed("open", &path))?),
        };
        match read_value(&file, &mut self.buffer) {
            Ok(value) => {
                self.lines.push(format!("{PREFIX}{path} = {value}"));
                Ok(())
            }
            // Those that say so until they are set: stable_secret.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(()),
            Err(source) => {
                Err(FingerprintError::Sysctl { path: path.into(), call: "read", source })
            }
        }
    }
}

fn read_value(file: &File, buffer: &mut Vec<u8>) -> io::Result<String> {
    buffer.resize(SHORT, 0);
    let mut length = file.read_at(buffer, 0)?;
    if length == SHORT {
        buffer.resize(LONG, 0);
        length = file.read_at(buffer, 0)?;
    }
    let value = String::from_utf8_lossy(&buffer[..length]);
    Ok(value.trim().replace('\n', " "))
}

fn open(folder: impl std::os::fd::AsFd, name: &str, access: OFlags) -> Result<OwnedFd, Errno> {
    openat(folder, name, access | OFlags::CLOEXEC, Mode::empty())
}

fn failed(call: &'static str, path: &str) -> impl FnOnce(Errno) -> FingerprintError {
    let path = PathBuf::from(path);
    move |errno| FingerprintError::Sysctl { path, call, source: errno.into() }
}
