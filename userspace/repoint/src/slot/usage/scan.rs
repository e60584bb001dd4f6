//! Tasks and mounts, by a scan of `/proc`.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    mem,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::User;
use crate::{netns::NetnsInode, slot::fingerprint::shown};

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
}

/// Most listings of processes until one proves that none was missed. Every listing but the first looks
/// only at new processes, so that some thousand would have to begin every second.
const LISTINGS: usize = 64;
/// How long that may take: with 10,000 processes a listing takes 10 ms.
const LISTING: Duration = Duration::from_secs(3);

/// Finds a user, a task or a mount, of each used namespace. A namespace whose users cannot be found out
/// has [`User::Unproved`], which is no error for the others.
///
/// `/proc` must show all processes of the node. `keeping_place` is the inode number of the namespace
/// store's mount namespace. The mounts in there do not count, should a thread of ours be inside.
pub fn users(
    namespaces: &[NetnsInode],
    keeping_place: Option<u64>,
) -> Result<HashMap<NetnsInode, User>, UsageError> {
    // All namespaces are files of one file system, so that inode numbers distinguish them.
    let wanted = namespaces.iter().map(|namespace| (namespace.inode, *namespace)).collect();
    let mut scan = Scan { wanted, keeping_place, ..Scan::default() };
    scan.processes()?;
    scan.secretive_tasks();
    Ok(scan.finish())
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
    /// Tasks whose namespaces the kernel hides: they have more rights than we.
    secretive: Vec<(i32, i32, PathBuf)>,
    /// Why there may be users that were not found.
    unproved: Option<String>,
}

/// Whether a process was there to be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Whole,
    /// It has ended, and may have started another process before.
    Ended,
}

impl Scan {
    /// Looks at all processes, until a listing proves that none was missed.
    ///
    /// A listing proves it if no process in it is new. It also proves it if every new process was still
    /// there when it was looked at: the kernel numbers processes upwards, as the listing is sorted. A
    /// process that hides would have to start another before it ends, each time before the listing comes
    /// to it, and the listing would come to the other.
    fn processes(&mut self) -> Result<(), UsageError> {
        let (mut known, mut ended) = (HashSet::new(), HashSet::new());
        let deadline = Instant::now() + LISTING;
        for _ in 0..LISTINGS {
            let before = newest_process();
            let mut new = listed(Path::new("/proc"))?;
            new.retain(|process| !known.contains(process));
            let mut look = |scan: &mut Self, process: &Process| {
                // A process that had ended before it was listed has started none since: do not wait for
                // it.
                let is_over =
                    scan.process(process.number) == Seen::Whole || ended.contains(process);
                if is_over {
                    known.insert(*process)
                } else {
                    ended.insert(*process)
                };
                is_over
            };
            let looks: Vec<_> = new.iter().map(|process| look(self, process)).collect();
            let is_upwards = newest_process().zip(before).is_some_and(|(now, then)| now >= then);
            if new.is_empty() || is_upwards && looks.into_iter().all(|is_over| is_over) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        self.cannot_prove(|| {
            "processes begin and end so fast that some might hide in its namespace".to_owned()
        });
        Ok(())
    }

    fn cannot_prove(&mut self, reason: impl FnOnce() -> String) {
        self.unproved.get_or_insert_with(reason);
    }

    /// The users found, with `Unproved` for the rest if a proof is lacking.
    fn finish(mut self) -> HashMap<NetnsInode, User> {
        if let Some(reason) = self.unproved {
            for namespace in self.wanted.into_values() {
                let unproved = || User::Unproved { reason: reason.clone() };
                self.users.entry(namespace).or_insert_with(unproved);
            }
        }
        self.users
    }

    fn process(&mut self, process: i32) -> Seen {
        let tasks = PathBuf::from(format!("/proc/{process}/task"));
        let threads = match present(&tasks, numbers) {
            Ok(Some(threads)) => threads,
            Ok(None) => return Seen::Ended,
            Err(error) => {
                self.cannot_prove(|| error.to_string());
                return Seen::Whole;
            }
        };
        let mut seen = Seen::Whole;
        for thread in threads {
            match self.task(process, thread, &tasks.join(thread.to_string())) {
                Ok(Seen::Ended) if thread == process => seen = Seen::Ended,
                Ok(_) => {}
                Err(error) => self.cannot_prove(|| error.to_string()),
            }
        }
        seen
    }

    fn task(&mut self, process: i32, thread: i32, folder: &Path) -> Result<Seen, UsageError> {
        match inode(&folder.join("ns/net")) {
            Err(error) if is_denied(&error) => {
                self.secretive.push((process, thread, folder.to_owned()));
                self.read_mounts(process, folder)?;
            }
            Ok(Some(netns)) => {
                self.is_inside(netns, process, thread, folder)?;
                self.witnesses.entry(netns).or_insert_with(|| folder.to_owned());
                match self.mounts(process, folder) {
                    // The task executes another program meanwhile, or ends.
                    Err(error) if is_denied(&error) => self.read_mounts(process, folder)?,
                    read => read?,
                }
            }
            Ok(None) => return Ok(Seen::Ended),
            Err(error) => return Err(error),
        }
        Ok(Seen::Whole)
    }

    fn is_inside(
        &mut self,
        netns: u64,
        process: i32,
        thread: i32,
        folder: &Path,
    ) -> Result<(), UsageError> {
        if let Some(namespace) = self.wanted.get(&netns) {
            let command = present(&folder.join("comm"), |path| fs::read(path))?;
            let command = shown(command.unwrap_or_default().trim_ascii_end());
            self.users.insert(*namespace, User::Task { process, thread, command });
        }
        Ok(())
    }

    /// Finds the network namespaces of tasks that hide them. Every process may see the files in
    /// `/proc/PID/net`, and their inode numbers differ in each network namespace.
    fn secretive_tasks(&mut self) {
        let mut known = HashMap::new();
        for (process, thread, folder) in mem::take(&mut self.secretive) {
            if let Err(error) = self.secretive_task(&mut known, process, thread, &folder) {
                self.cannot_prove(|| error.to_string());
            }
        }
    }

    fn secretive_task(
        &mut self,
        known: &mut HashMap<u64, u64>,
        process: i32,
        thread: i32,
        folder: &Path,
    ) -> Result<(), UsageError> {
        let file =
            |folder: &Path| present(&folder.join("net/dev"), |path| Ok(fs::metadata(path)?.ino()));
        if known.is_empty() {
            for (netns, witness) in &self.witnesses {
                known.extend(file(witness)?.map(|file| (file, *netns)));
            }
        }
        let Some(file) = file(folder)? else { return Ok(()) };
        if let Some(netns) = known.get(&file) {
            return self.is_inside(*netns, process, thread, folder);
        }
        self.cannot_prove(|| {
            format!(
                "process {process} does not show its network namespace (CAP_SYS_PTRACE is needed), \
                 which may be this one"
            )
        });
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

    /// Line by line: there may be a hundred thousand.
    fn read_mounts(&mut self, process: i32, folder: &Path) -> Result<(), UsageError> {
        let path = folder.join("mountinfo");
        let Some(mut table) = present(&path, |path| Ok(BufReader::new(File::open(path)?)))? else {
            return Ok(());
        };
        let mut line = Vec::new();
        while present(&path, |_| {
            line.clear();
            table.read_until(b'\n', &mut line)
        })?
        .is_some_and(|length| length > 0)
        {
            if let Some((netns, path)) = namespace_mount(line.trim_ascii_end())
                && let Some(namespace) = self.wanted.get(&netns)
            {
                self.users.entry(*namespace).or_insert(User::Mount { path, process });
            }
        }
        Ok(())
    }
}

/// Whether the kernel refuses to show it: we have fewer rights than the task.
fn is_denied(error: &UsageError) -> bool {
    let UsageError::Read { source, .. } = error;
    source.kind() == io::ErrorKind::PermissionDenied
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

/// A process as it is listed: another of the same number has another inode.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Process {
    number: i32,
    inode: u64,
}

/// All processes, sorted by number, as the kernel lists them.
fn listed(folder: &Path) -> Result<Vec<Process>, UsageError> {
    let process = |entry: &fs::DirEntry| {
        Some(Process { number: number(&entry.file_name())?, inode: entry.ino() })
    };
    let entries = || fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>();
    let entries =
        entries().map_err(|source| UsageError::Read { path: folder.to_owned(), source })?;
    Ok(entries.iter().filter_map(process).collect())
}

/// The number of the process or thread that began last, which is the last word there.
fn newest_process() -> Option<i32> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The entries of a folder that are numbers.
fn numbers(folder: &Path) -> io::Result<Vec<i32>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.iter().filter_map(|entry| number(&entry.file_name())).collect())
}

fn number(name: &OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
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
    fn mounts_of_network_namespaces_are_recognised() {
        let line = b"64 29 0:4 net:[4026532177] /run/netns/a\\040b rw shared:35 - nsfs nsfs rw";
        let found = namespace_mount(line).unwrap();
        assert_eq!(found, (4_026_532_177, PathBuf::from("/run/netns/a\\040b")));
        assert_eq!(namespace_mount(b"29 1 254:0 / / rw - ext4 /dev/root rw"), None);
        assert_eq!(namespace_mount(b""), None);
    }
}
