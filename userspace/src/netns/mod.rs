//! Network namespaces: opening them by path, telling them apart, working inside.
#![expect(unsafe_code, reason = "the kind of a namespace file is told by an ioctl")]

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{
    sched::{CloneFlags, setns},
    sys::statfs::{FsType, fstatfs},
};
use serde::{Deserialize, Serialize};

use crate::types::NetnsPath;

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
    /// The way back is barred: the thread must do nothing more.
    #[error("cannot return from network namespace {path}: setns: {source}")]
    Return {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What tells one namespace from another, as long as either lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetnsInode {
    /// Device of the namespace file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
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
        Self::open_path(Path::new("/proc/thread-self/ns/net"))
    }

    fn open_path(path: &Path) -> Result<Self, NetnsError> {
        let open = |source| NetnsError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(open)?;
        let kind = fstatfs(&file).map_err(|errno| open(errno.into()))?;
        if kind.filesystem_type() != NSFS_MAGIC || !is_network(&file) {
            return Err(NetnsError::NotNetns { path: path.to_owned() });
        }
        let metadata = file.metadata().map_err(open)?;
        let inode = NetnsInode { device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { file, path: path.to_owned(), inode })
    }

    /// What tells it from others.
    #[must_use]
    pub fn inode(&self) -> NetnsInode {
        self.inode
    }

    /// Calls `work` with the calling thread inside this namespace.
    ///
    /// After [`NetnsError::Return`] the thread is still inside and must not go on.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetnsError> {
        let home = Self::current()?;
        let enter =
            |errno: nix::Error| NetnsError::Enter { path: self.path.clone(), source: errno.into() };
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(enter)?;
        let value = work();
        setns(&home.file, CloneFlags::CLONE_NEWNET).map_err(|errno| NetnsError::Return {
            path: self.path.clone(),
            source: errno.into(),
        })?;
        Ok(value)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn is_network(file: &File) -> bool {
    // SAFETY: the request takes no argument and writes no memory; the descriptor is open.
    let kind = unsafe { ns_get_nstype(file.as_raw_fd()) };
    kind == Ok(CloneFlags::CLONE_NEWNET.bits())
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
