//! Files in which a namespace's state is read and set: sysctls, and what sysfs has of its links.
//!
//! The program reads them in a `/proc` and a sysfs that it mounts for this. In the node's own `/proc` the
//! kernel would keep an inode for each file until memory is short, half a megabyte for every namespace.
//! To find a file it would also search the files of the same name of all namespaces that were looked at,
//! one after the other (`proc_sys_compare`). The node's own sysfs shows the node's links.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::PathBuf,
};

use rustix::{
    fs::{Dir, FileType, Mode, OFlags, openat},
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

use super::{Budget, FingerprintError, names::Names};

/// Most that is read of a value at first: the kernel makes and clears a buffer of the size asked
/// for, each time (`proc_sys_call_handler`).
const SHORT: usize = 256;
/// Most that is read of a long one: `ip_local_reserved_ports` lists every other port.
const LONG: usize = 256 * 1024;

/// Mounts a private `/proc`, which ends when the descriptor is closed.
pub(in crate::slot) fn mount_proc() -> Result<OwnedFd, Errno> {
    mount("proc")
}

/// Mounts a private sysfs of the calling thread's network namespace.
pub(super) fn mount_sysfs() -> Result<OwnedFd, Errno> {
    mount("sysfs")
}

fn mount(kind: &str) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// Reads all files below a folder that can be read and written, a line each.
pub(super) struct Walk<'a> {
    pub names: &'a Names<'a>,
    pub budget: &'a mut Budget,
    /// What lines begin with, and what a file is called in errors.
    pub kind: &'static str,
    /// Names of files and folders that are left out.
    pub left_out: &'static [&'static str],
    pub lines: Vec<String>,
    pub buffer: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        kind: &'static str,
        left_out: &'static [&'static str],
        names: &'a Names<'a>,
        budget: &'a mut Budget,
    ) -> Self {
        Self { names, budget, kind, left_out, lines: Vec::new(), buffer: Vec::new() }
    }

    pub(super) fn folder(&mut self, folder: &OwnedFd, below: &str) -> Result<(), FingerprintError> {
        let entries = Dir::read_from(folder).map_err(|errno| self.failed("read", below, errno))?;
        for entry in entries {
            let entry = entry.map_err(|errno| self.failed("read", below, errno))?;
            let name = entry.file_name();
            let plain = name.to_bytes();
            let is_left_out = |left: &&str| left.as_bytes() == plain;
            if matches!(plain, b"." | b"..") || self.left_out.iter().any(is_left_out) {
                continue;
            }
            let part = self.names.text(plain);
            let path = if below.is_empty() { part } else { format!("{below}/{part}") };
            match entry.file_type() {
                FileType::Directory => {
                    let inner = open(folder, name, OFlags::RDONLY | OFlags::DIRECTORY);
                    let inner = inner.map_err(|errno| self.failed("open", &path, errno))?;
                    self.folder(&inner, &path)?;
                }
                FileType::Symlink => {}
                _ => self.file(folder, name, &path)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: &OwnedFd, name: &CStr, path: &str) -> Result<(), FingerprintError> {
        let file = match open(folder, name, OFlags::RDWR) {
            // The file cannot be written or read, and is no part of a fingerprint; or its link went
            // meanwhile.
            Err(Errno::ACCESS | Errno::PERM | Errno::NOENT) => return Ok(()),
            file => File::from(file.map_err(|errno| self.failed("open", path, errno))?),
        };
        match read_value(&file, &mut self.buffer) {
            Ok(value) => {
                let line = format!("{} {path} = {value}", self.kind);
                self.budget.spend(self.kind, self.lines.len() + 1, line.len())?;
                self.lines.push(line);
                Ok(())
            }
            // The file has no value; reading stable_secret fails until it is set.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EIO | libc::ENOENT | libc::EINVAL | libc::EOPNOTSUPP)
                ) =>
            {
                Ok(())
            }
            Err(source) => Err(FingerprintError::File {
                kind: self.kind,
                path: path.into(),
                call: "read",
                source,
            }),
        }
    }

    fn failed(&self, call: &'static str, path: &str, errno: Errno) -> FingerprintError {
        failed(self.kind, call, path)(errno)
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

pub(super) fn open(
    folder: impl AsFd,
    name: impl rustix::path::Arg,
    access: OFlags,
) -> Result<OwnedFd, Errno> {
    openat(folder, name, access | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn failed(
    kind: &'static str,
    call: &'static str,
    path: &str,
) -> impl FnOnce(Errno) -> FingerprintError + use<> {
    let path = PathBuf::from(path);
    move |errno| FingerprintError::File { kind, path, call, source: errno.into() }
}
