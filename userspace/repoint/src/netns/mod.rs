//! Network namespaces: making them, opening them by path, comparing and entering them.
//!
//! The submodules keep the namespaces of slots, and bind one over a runtime's.
#![expect(
    unsafe_code,
    reason = "the kind and the owner of a namespace are read by ioctls; close_range has no safe form"
)]

mod bind;
mod descriptors;
pub mod guard;
mod mounts;
mod store;

pub use bind::{BindError, bind_over, unbind};
pub use descriptors::keep_to_this_process;
pub use mounts::MountNamespace;
pub use store::{
    Inside, Kept, NetnsDirectory, NetnsStore, NetnsStoreError, foreign_mount_namespace,
};

use bind::bind;

use std::{
    fs::{File, Metadata},
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{FsType, fstatfs},
    unistd::{getpid, gettid},
};
use rustix::fs::{Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use crate::model::NetnsPath;

/// `NSFS_MAGIC`, `include/uapi/linux/magic.h`.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

nix::ioctl_none_bad!(
    /// `NS_GET_NSTYPE`: which kind of namespace a file is.
    ns_get_nstype,
    nix::request_code_none!(0xb7, 0x3)
);

/// What is wrong with a namespace, or with going there.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The path cannot be opened.
    #[error("cannot open network namespace {path}: {source}")]
    Open {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The path is something else.
    #[error(
        "{path} is not a network namespace: the runtime must create one and pass its path in CNI_NETNS"
    )]
    NotNetns {
        /// The path.
        path: PathBuf,
    },
    /// The kernel does not let us in.
    #[error("cannot enter network namespace {path}: setns: {source} (CAP_SYS_ADMIN is needed)")]
    Enter {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel makes no more namespaces.
    #[error("cannot make a network namespace: unshare: {source}")]
    Make {
        /// Why not.
        source: io::Error,
    },
    /// The thread cannot return to its namespace, and must do nothing more.
    #[error("cannot return from network namespace {path}: setns: {source}")]
    Return {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Identifies a namespace while it lives; the kernel gives the numbers again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetnsInode {
    /// Device of the namespace file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl NetnsInode {
    /// The identity of a namespace, from metadata of its file.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// An open network namespace: it lives as long as this does.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    inode: NetnsInode,
}

impl Netns {
    /// Opens the namespace at a path.
    pub fn open(path: &NetnsPath) -> Result<Self, NetnsError> {
        Self::open_path(path.as_path())
    }

    /// Opens the namespace that the calling thread is in.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open_own(Path::new(own("/proc/self/ns/net", "/proc/thread-self/ns/net")))
    }

    /// Makes a namespace. It lives as long as this value, a mount of it or a task inside.
    ///
    /// After [`NetnsError::Return`] the calling thread is inside and must not go on.
    pub fn create() -> Result<Self, NetnsError> {
        let home = Self::current()?;
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| NetnsError::Make { source: errno.into() })?;
        let made = Self::current();
        home.enter().map_err(|source| NetnsError::Return { path: home.path.clone(), source })?;
        made
    }

    /// Opens a path at which only a network namespace can be.
    fn open_own(path: &Path) -> Result<Self, NetnsError> {
        let open = |source| NetnsError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(open)?;
        let inode = NetnsInode::of(&file.metadata().map_err(open)?);
        Ok(Self { file, path: path.to_owned(), inode })
    }

    /// Opens a file in a folder in which only network namespaces are.
    fn open_in(folder: BorrowedFd<'_>, path: &Path) -> Result<Self, NetnsError> {
        let open = |source| NetnsError::Open { path: path.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file =
            openat(folder, path, flags, Mode::empty()).map_err(|errno| open(errno.into()))?;
        let file = File::from(file);
        let inode = NetnsInode::of(&file.metadata().map_err(open)?);
        Ok(Self { file, path: path.to_owned(), inode })
    }

    fn open_path(path: &Path) -> Result<Self, NetnsError> {
        let open = |source| NetnsError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(open)?;
        if kind_of(&file).map_err(open)? != Some(CloneFlags::CLONE_NEWNET) {
            return Err(NetnsError::NotNetns { path: path.to_owned() });
        }
        let inode = NetnsInode::of(&file.metadata().map_err(open)?);
        Ok(Self { file, path: path.to_owned(), inode })
    }

    /// Device and inode number of the namespace.
    #[must_use]
    pub fn inode(&self) -> NetnsInode {
        self.inode
    }

    /// Calls `work` with the calling thread inside this namespace.
    ///
    /// After [`NetnsError::Return`] the thread is still inside and must not go on.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetnsError> {
        self.run_from(&Self::current()?, work)
    }

    /// Like [`Self::run`], for a caller that has the namespace open that the thread is in.
    pub fn run_from<T>(&self, home: &Self, work: impl FnOnce() -> T) -> Result<T, NetnsError> {
        self.enter().map_err(|source| NetnsError::Enter { path: self.path.clone(), source })?;
        let value = work();
        home.enter().map_err(|source| NetnsError::Return { path: self.path.clone(), source })?;
        Ok(value)
    }

    fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.file, CloneFlags::CLONE_NEWNET)?)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Chooses the path of the calling thread's own namespace. For the first thread of a process it is the
/// path of the process, for which the kernel makes three inodes less.
fn own(process: &'static str, thread: &'static str) -> &'static str {
    if gettid() == getpid() { process } else { thread }
}

/// The kind of namespace that a file is, if it is one.
fn kind_of(file: &File) -> io::Result<Option<CloneFlags>> {
    if fstatfs(file)?.filesystem_type() != NSFS_MAGIC {
        return Ok(None);
    }
    // SAFETY: the request takes no argument and writes no memory; the descriptor is open.
    let kind = unsafe { ns_get_nstype(file.as_raw_fd()) }?;
    Ok(Some(CloneFlags::from_bits_retain(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_namespace_is_itself() {
        let (one, two) = (Netns::current().unwrap(), Netns::current().unwrap());
        assert_eq!(one.inode(), two.inode());
        assert_eq!(one.run(|| 7).unwrap(), 7);
    }

    #[test]
    fn other_files_are_refused() {
        for path in ["/proc/thread-self/ns/mnt", "/dev/null", "/proc/self/status"] {
            let error = Netns::open(&NetnsPath::new(path).unwrap()).unwrap_err();
            assert!(matches!(error, NetnsError::NotNetns { .. }), "{path}: {error}");
        }
        let error = Netns::open(&NetnsPath::new("/nowhere/at/all").unwrap()).unwrap_err();
        assert!(matches!(error, NetnsError::Open { .. }), "{error}");
    }
}
