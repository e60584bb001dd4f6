//! Binding a slot's namespace over the one that a runtime made.
//!
//! The runtime makes a namespace and a file at the path. The plugin mounts the slot's namespace over it,
//! and unmounts it later, so that the path always has a namespace: containerd runs the loopback plugin on
//! the same path meanwhile, and fails the pod where it finds no namespace.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};
use rustix::{
    fs::CWD,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use super::{Netns, NetnsInode};

/// Why a namespace cannot be bound over a path, or unbound.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the slot's network namespace {path}: {call}: {source}")]
pub struct BindError {
    what: &'static str,
    path: PathBuf,
    call: &'static str,
    source: io::Error,
}

fn failed<E: Into<io::Error>>(
    what: &'static str,
    path: &Path,
    call: &'static str,
) -> impl FnOnce(E) -> BindError {
    let path = path.to_owned();
    move |source| BindError { what, path, call, source: source.into() }
}

/// Mounts a namespace at a path, over what is there.
pub(super) fn bind(namespace: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(namespace, "", flags)?;
    move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Binds a namespace over what is at a path.
pub fn bind_over(netns: &Netns, path: &Path) -> Result<(), BindError> {
    use std::os::fd::AsFd as _;
    bind(netns.as_fd(), path).map_err(failed("mount", path, "move_mount"))
}

/// Unbinds a namespace from a path; returns whether it was there.
///
/// The function removes exactly this mount: a runtime unmounts once and unlinks, and fails with one mount
/// less or more. A descriptor names the mount: if another process unmounts it meanwhile, the kernel finds
/// no mount, and leaves what is beneath.
pub fn unbind(namespace: NetnsInode, path: &Path) -> Result<bool, BindError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(failed("open", path, "open"))?,
    };
    let found = file.metadata().map_err(failed("look at", path, "fstat"))?;
    if NetnsInode::of(&found) != namespace {
        return Ok(false);
    }
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    match umount2(own.as_str(), MntFlags::MNT_DETACH) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL) if !is_at(namespace, path) => Ok(false),
        Err(errno) => Err(failed("unmount", path, "umount2")(errno)),
    }
}

fn is_at(namespace: NetnsInode, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| NetnsInode::of(&found) == namespace)
}
