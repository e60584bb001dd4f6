//! Tasks and mounts, by a scan of `/proc`.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs, io, mem,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use super::User;
use crate::netns::NetnsInode;

/// Why users cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A file of `/proc` cannot be read.
    #[error("cannot find out who uses a namespace: read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A task does not let us look, and no other is in its network namespace that does.
    #[error(
        "cannot find out which network namespace process {process} is in \
         (CAP_SYS_PTRACE is needed)"
    )]
    Secretive {
        /// The process.
        process: i32,
    },
    /// Processes begin and end so fast that some might hide.
    #[error(
        "cannot find out who uses a namespace: new processes were found in each of {LISTINGS} \
         listings of /proc"
    )]
    Restless,
}

/// How often processes are listed until there is no new one. Each time but the first only new ones are
/// looked at, so that some thousand would have to begin every second.
const LISTINGS: usize = 64;

/// Who uses the namespaces: one task or mount of each that has any.
///
/// `/proc` must show all processes of the node. `keeping_place` is the inode number of the mount
/// namespace in which the slots' namespaces are kept: the mounts in there are not counted, should
/// a thread of ours be inside.
pub fn users(
    namespaces: &[NetnsInode],
    keeping_place: Option<u64>,
) -> Result<HashMap<NetnsInode, User>, UsageError> {
    // All namespaces are files of one file system, so that inode numbers tell them apart.
    let wanted = namespaces.iter().map(|namespace| (namespace.inode, *namespace)).collect();
    let mut scan = Scan { wanted, keeping_place, ..Scan::default() };
    let mut seen = HashSet::new();
    // One that ends before it is looked at may have forked since it was listed.
    for _ in 0..LISTINGS {
        let listed = numbers(Path::new("/proc"))?.unwrap_or_default();
        let new: Vec<_> = listed.into_iter().filter(|process| seen.insert(*process)).collect();
        if new.is_empty() {
            scan.secretive_tasks()?;
            return Ok(scan.users);
        }
        new.into_iter().try_for_each(|process| scan.process(process))?;
    }
    Err(UsageError::Restless)
}

#[derive(Default)]
struct Scan {
    wanted: HashMap<u64, NetnsInode>,
    keeping_place: Option<u64>,
    /// Mount namespaces and roots whose mounts were read.
    seen: HashSet<(u64, PathBuf)>,
    users: HashMap<NetnsInode, User>,
    /// A task of each network namespace.
    witnesses: HashMap<u64, PathBuf>,
    /// Tasks whose namespaces the kernel does not tell us: they have more rights than we.
    secretive: Vec<(i32, i32, PathBuf)>,
}

impl Scan {
    fn process(&mut self, process: i32) -> Result<(), UsageError> {
        let tasks = PathBuf::from(format!("/proc/{process}/task"));
        for thread in numbers(&tasks)?.unwrap_or_default() {
            // A task that ended meanwhile uses nothing.
            self.task(process, thread, &tasks.join(thread.to_string()))?;
        }
        Ok(())
    }

    fn task(&mut self, process: i32, thread: i32, folder: &Path) -> Result<(), UsageError> {
        match inode(&folder.join("ns/net")) {
            Err(error) if is_denied(&error) => {
                self.secretive.push((process, thread, folder.to_owned()));
                self.read_mounts(process, folder)
            }
            Ok(Some(netns)) => {
                self.is_inside(netns, process, thread, folder)?;
                self.witnesses.entry(netns).or_insert_with(|| folder.to_owned());
                match self.mounts(process, folder) {
                    // It executes another program meanwhile, or ends.
                    Err(error) if is_denied(&error) => self.read_mounts(process, folder),
                    read => read,
                }
            }
            other => other.map(drop),
        }
    }

    fn is_inside(
        &mut self,
        netns: u64,
        process: i32,
        thread: i32,
        folder: &Path,
    ) -> Result<(), UsageError> {
        if let Some(namespace) = self.wanted.get(&netns) {
            let command = present(&folder.join("comm"), |path| fs::read_to_string(path))?;
            let command = command.unwrap_or_default().trim_end().to_owned();
            self.users.insert(*namespace, User::Task { process, thread, command });
        }
        Ok(())
    }

    /// Which namespaces the tasks are in that do not say so: everybody may see the files in
    /// `/proc/PID/net`, which have other inode numbers in each network namespace.
    fn secretive_tasks(&mut self) -> Result<(), UsageError> {
        let file =
            |folder: &Path| present(&folder.join("net/dev"), |path| Ok(fs::metadata(path)?.ino()));
        let mut known = HashMap::new();
        for (process, thread, folder) in mem::take(&mut self.secretive) {
            if known.is_empty() {
                for (netns, witness) in &self.witnesses {
                    known.extend(file(witness)?.map(|file| (file, *netns)));
                }
            }
            let Some(file) = file(&folder)? else { continue };
            let netns = *known.get(&file).ok_or(UsageError::Secretive { process })?;
            self.is_inside(netns, process, thread, &folder)?;
        }
        Ok(())
    }

    /// Reads the mounts that a task sees, unless another saw the same: a task sees those of its
    /// mount namespace that are below its root.
    fn mounts(&mut self, process: i32, folder: &Path) -> Result<(), UsageError> {
        let Some(namespace) = inode(&folder.join("ns/mnt"))? else { return Ok(()) };
        let Some(root) = present(&folder.join("root"), |path| fs::read_link(path))? else {
            return Ok(());
        };
        let view = (namespace, root);
        if self.keeping_place == Some(namespace) || self.seen.contains(&view) {
            return Ok(());
        }
        self.seen.insert(view);
        self.read_mounts(process, folder)
    }

    fn read_mounts(&mut self, process: i32, folder: &Path) -> Result<(), UsageError> {
        let table = present(&folder.join("mountinfo"), |path| fs::read(path))?.unwrap_or_default();
        for (netns, path) in table.split(|byte| *byte == b'\n').filter_map(namespace_mount) {
            if let Some(namespace) = self.wanted.get(&netns) {
                self.users.entry(*namespace).or_insert(User::Mount { path, process });
            }
        }
        Ok(())
    }
}

/// Whether the kernel does not tell us, who have fewer rights than the task.
fn is_denied(error: &UsageError) -> bool {
    matches!(
        error,
        UsageError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied
    )
}

/// Inode number and mount point of a mounted network namespace, whose root in field 4 of its line
/// is `net:[INODE]` (`proc_pid_mountinfo(5)`).
fn namespace_mount(line: &[u8]) -> Option<(u64, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b' ').skip(3);
    let inode = bracketed(fields.next()?, b"net:[")?;
    Some((inode, PathBuf::from(OsString::from_vec(fields.next()?.to_vec()))))
}

fn bracketed(text: &[u8], prefix: &[u8]) -> Option<u64> {
    let number = text.strip_prefix(prefix)?.strip_suffix(b"]")?;
    str::from_utf8(number).ok()?.parse().ok()
}

/// The inode number of a task's namespace; none: the task has ended.
fn inode(path: &Path) -> Result<Option<u64>, UsageError> {
    let target = present(path, |path| fs::read_link(path))?;
    Ok(target.and_then(|target| {
        let text = target.as_os_str().as_bytes();
        let name = text.split_inclusive(|byte| *byte == b'[').next()?;
        bracketed(text, name)
    }))
}

/// The entries of a folder that are numbers.
fn numbers(folder: &Path) -> Result<Option<Vec<i32>>, UsageError> {
    let entries = present(folder, |path| fs::read_dir(path)?.collect::<io::Result<Vec<_>>>())?;
    let number = |name: &OsStr| name.to_str()?.parse().ok();
    Ok(entries
        .map(|entries| entries.iter().filter_map(|entry| number(&entry.file_name())).collect()))
}

/// Reads something of a task; nothing where the task has ended.
fn present<T>(
    path: &Path,
    read: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<Option<T>, UsageError> {
    match read(path) {
        Ok(value) => Ok(Some(value)),
        // mountinfo of a task that has no namespaces any more: EINVAL (mounts_open_common).
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EINVAL)) =>
        {
            Ok(None)
        }
        Err(source) => Err(UsageError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    #[test]
    fn our_own_namespace_is_in_use_and_another_number_is_not() {
        let own = Netns::current().unwrap().inode();
        let other = NetnsInode { inode: 1, ..own };
        let users = users(&[own, other], None).unwrap();
        assert!(matches!(users[&own], User::Task { .. }), "{users:?}");
        assert!(!users.contains_key(&other));
    }

    #[test]
    fn mounts_of_network_namespaces_are_told_from_others() {
        let line = b"64 29 0:4 net:[4026532177] /run/netns/a\\040b rw shared:35 - nsfs nsfs rw";
        let found = namespace_mount(line).unwrap();
        assert_eq!(found, (4_026_532_177, PathBuf::from("/run/netns/a\\040b")));
        assert_eq!(namespace_mount(b"29 1 254:0 / / rw - ext4 /dev/root rw"), None);
        assert_eq!(namespace_mount(b""), None);
    }
}
