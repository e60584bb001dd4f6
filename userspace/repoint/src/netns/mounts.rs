//! Mount namespaces: which one this process is in, whether another is still there, and going there.
//!
//! The namespace store belongs to one mount namespace, the runtimes'. The file beneath the store's pin
//! names it (`store.rs`), for processes that are in another.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

use super::NetnsInode;
use crate::boot::boot_id;

nix::ioctl_read!(
    /// `NS_GET_MNTNS_ID` (Linux 6.11): the number of a mount namespace, which no other gets until the
    /// next boot.
    ns_get_mntns_id,
    0xb7,
    5,
    u64
);

/// Inode number of the first PID namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`): its tasks see
/// all others.
const FIRST_PIDS: u64 = 0xEFFF_FFFC;

/// What identifies a mount namespace, as a line: device, inode number, boot, its number where the
/// kernel has one, and the PID namespace of the process that wrote the line. Inode numbers are given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountNamespace {
    inode: NetnsInode,
    boot: String,
    number: Option<u64>,
    /// Inode number of the PID namespace that it was seen from.
    pids: Option<u64>,
}

impl MountNamespace {
    /// The mount namespace that this process is in.
    pub fn current() -> io::Result<Self> {
        Self::at(Path::new("/proc/self/ns/mnt"))
    }

    /// The mount namespace of process 1, as this process sees it.
    pub fn of_init() -> io::Result<Self> {
        Self::at(Path::new("/proc/1/ns/mnt"))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let inode = NetnsInode::of(&fs::metadata(path)?);
        // Not every process may be opened; its number may be looked at.
        let number = File::open(path).ok().and_then(|file| number(&file));
        let pids = fs::metadata("/proc/self/ns/pid").ok().map(|found| found.ino());
        Ok(Self { inode, boot: boot_id().unwrap_or_default(), number, pids })
    }

    /// The mount namespace that a line names.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let device = fields.next()?.parse().ok()?;
        let inode = NetnsInode { device, inode: fields.next()?.parse().ok()? };
        let boot = fields.next().unwrap_or_default().to_owned();
        let mut number = || fields.next().and_then(|number| number.parse().ok());
        Some(Self { inode, boot, number: number(), pids: number() })
    }

    pub(super) fn line(&self) -> String {
        let Self { inode: NetnsInode { device, inode }, boot, number, pids } = self;
        let [number, pids] = [number, pids].map(|number| number.map(|number| number.to_string()));
        let [number, pids] = [number, pids].map(Option::unwrap_or_default);
        format!("{device}:{inode}:{boot}:{number}:{pids}")
    }

    /// Whether both are the same, as far as both are known.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let differ = |one: Option<u64>, other: Option<u64>| {
            one.zip(other).is_some_and(|(one, other)| one != other)
        };
        self.inode == other.inode
            && self.is_of_boot(&other.boot)
            && !differ(self.number, other.number)
    }

    /// Whether it is of this boot; where that is not known, it is taken to be.
    pub(super) fn is_of_boot(&self, boot: &str) -> bool {
        self.boot.is_empty() || boot.is_empty() || self.boot == boot
    }

    /// Whether this process would find a task of the mount namespace. It would if it sees all tasks of
    /// the node, or those that the process saw that wrote the line. A container without `hostPID` sees
    /// only its own.
    #[must_use]
    pub fn is_in_sight(&self) -> bool {
        let own = fs::metadata("/proc/self/ns/pid").ok().map(|found| found.ino());
        own == Some(FIRST_PIDS) || own.is_some() && own == self.pids
    }

    /// The file of this namespace, by way of a task in it. None if no task is in it: it has ended, or no
    /// process works in it.
    pub fn find(&self) -> io::Result<Option<PathBuf>> {
        for process in numbered(Path::new("/proc"))? {
            // A task that ends meanwhile is in no namespace.
            let own = process.join("ns/mnt");
            let tasks = numbered(&process.join("task")).unwrap_or_default();
            let all = tasks.into_iter().map(|task| task.join("ns/mnt"));
            for path in [own].into_iter().chain(all) {
                if Self::at(&path).is_ok_and(|found| found.is(self)) {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    /// Moves this process there. It must have one thread.
    pub fn enter(path: &Path) -> io::Result<()> {
        Ok(setns(File::open(path)?, CloneFlags::CLONE_NEWNS)?)
    }
}

fn number(file: &File) -> Option<u64> {
    let mut number = 0;
    // SAFETY: the request writes a number of 64 bits to where the pointer leads; the descriptor is open.
    unsafe { ns_get_mntns_id(file.as_raw_fd(), &raw mut number) }.ok().map(|_| number)
}

/// Entries of a folder that are named by numbers.
fn numbered(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_number =
        |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
    Ok(fs::read_dir(folder)?.flatten().filter(is_number).map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_same_namespace() {
        let own = MountNamespace::current().unwrap();
        let read = MountNamespace::read(&own.line()).unwrap();
        assert!(read.is(&own) && own.is(&read), "{own:?} {read:?}");
        assert!(own.find().unwrap().is_some());
        let older = MountNamespace { number: None, ..own.clone() };
        assert!(older.is(&own), "lines of older versions name no number");
        let another = MountNamespace { number: Some(u64::MAX), ..own.clone() };
        assert!(own.number.is_none() || !another.is(&own), "its inode number was given again");
        for boot in ["", &own.boot] {
            assert!(MountNamespace { boot: boot.to_owned(), ..own.clone() }.is(&own));
        }
        assert!(!MountNamespace { boot: "next".to_owned(), ..own.clone() }.is(&own));
        assert_eq!(MountNamespace::read(""), None);
        assert_eq!(MountNamespace::read("no:number"), None);
    }

    #[test]
    fn a_namespace_without_tasks_is_not_found() {
        let own = MountNamespace::current().unwrap();
        let ended = MountNamespace { inode: NetnsInode { inode: 1, ..own.inode }, ..own };
        assert_eq!(ended.find().unwrap(), None);
    }
}
