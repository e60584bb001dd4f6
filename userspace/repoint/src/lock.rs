//! Locks of files (`flock(2)`), with a deadline.
//!
//! A signal, a debugger or the freezer of its cgroup may stop the process that holds a lock. Without a
//! deadline other processes would wait for ever.
//!
//! A blocking flock has no deadline, and only a signal handler interrupts it. So a process tries the lock
//! again and again: at once, then after yielding the CPU (the holder keeps the lock for microseconds, if
//! it gets to run), then after naps that grow with the time waited. Two hundred processes at one lock
//! finish as soon as with a blocking flock.
//!
//! Waiting processes form no queue. A blocking flock has no queue either: the kernel lets readers in
//! beside readers while a writer waits. Readers cannot keep a writer out for long: a process locks the
//! database exclusively when it opens it, and reads with one thread at a time after that.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::stat::{major, minor},
};

use crate::private::{self, PrivateError};

/// How long a process waits for a lock: less than runtimes' timeouts for a call.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a thread yields the CPU before its first nap.
const YIELDS: u32 = 8;
/// The shortest nap.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
/// The longest nap within the first second.
///
/// Where a lock is rarely free, a process with longer naps misses the moment at which it is.
const LONGEST_NAP: Duration = Duration::from_millis(1);
/// Later naps are at most the time waited divided by this.
///
/// The holder is probably stopped then, and hundreds of processes may wait.
const LATE_SHARE: u32 = 1000;
/// A nap is the time waited so far divided by this.
///
/// The nap thus delays a process by at most that share of its waiting time.
const SHARE: u32 = 8;
/// The most that one nap adds to the time waited.
///
/// A longer nap means that this process was stopped, perhaps together with the lock's holder.
const LONGEST_COUNTED: Duration = Duration::from_millis(100);
/// How often the kernel's table of locks is read until it has the holder. A long table takes several system
/// calls, and a lock is missing where another one was released in between.
const LOOKS: u32 = 20;

/// Why a file's lock cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A system call failed.
    #[error("cannot lock {path}: {call}: {source}")]
    Call {
        /// The file.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The file is not the node's own.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// Other processes hold the lock for too long.
    #[error("cannot lock {path}: it was not free for {} s: {}", waited.as_secs(), reported(path, holders))]
    Held {
        /// The file.
        path: PathBuf,
        /// How long this process waited.
        waited: Duration,
        /// The processes that hold it, as far as the kernel lists them.
        holders: Vec<Holder>,
    },
}

impl LockError {
    /// Whether other processes hold the lock.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }
}

/// Describes the holders, and what a person can do.
fn reported(path: &Path, holders: &[Holder]) -> String {
    let Some(first) = holders.first() else {
        return format!("see `fuser -v {}` for who holds it, and end that", path.display());
    };
    let all: Vec<_> = holders.iter().map(Holder::to_string).collect();
    let pid = first.pid;
    format!("{}: have it go on (`kill -CONT {pid}`), or end it", all.join(", "))
}

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its command, as `/proc/PID/comm` has it.
    pub command: String,
    /// Whether it is stopped, or traced.
    pub stopped: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, command, stopped } = self;
        let stopped = if *stopped { ", which is stopped" } else { "" };
        write!(f, "process {pid} ({command}) holds it{stopped}")
    }
}

/// A way of holding a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Together with other shared holders.
    Shared,
    /// Alone.
    Exclusive,
}

/// Takes the lock of an open file, which `path` names in errors.
///
/// The lock belongs to the open file description until that is unlocked or closed.
pub fn take(file: &File, path: &Path, kind: Kind, patience: Duration) -> Result<(), LockError> {
    let taken = wait(patience, || Ok(try_take(file, path, kind)?.then_some(())))?;
    taken.ok_or_else(|| held(path, patience, &[file]))
}

/// Takes the lock of an open file if it is free; returns whether it was.
fn try_take(file: &File, path: &Path, kind: Kind) -> Result<bool, LockError> {
    let tried = match kind {
        Kind::Shared => file.try_lock_shared(),
        Kind::Exclusive => file.try_lock(),
    };
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(failed(path, "flock")(source)),
    }
}

/// An exclusive lock, held until this value is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held, not looked at")] File);

impl Lock {
    /// Takes the lock of a file; makes a missing file.
    pub fn exclusive(path: &Path, patience: Duration) -> Result<Self, LockError> {
        let file = open(path)?;
        take(&file, path, Kind::Exclusive, patience)?;
        Ok(Self(file))
    }

    /// Takes the lock of the first file that is free.
    pub fn any(paths: &[PathBuf], patience: Duration) -> Result<Self, LockError> {
        let mut files: Vec<File> = Vec::new();
        let free = wait(patience, || {
            for (number, path) in paths.iter().enumerate() {
                if number == files.len() {
                    files.push(open(path)?);
                }
                if try_take(&files[number], path, Kind::Exclusive)? {
                    return Ok(Some(number));
                }
            }
            Ok(None)
        })?;
        let Some(free) = free else {
            let path = paths.first().map_or_else(|| Path::new(""), PathBuf::as_path);
            return Err(held(path, patience, &files.iter().collect::<Vec<_>>()));
        };
        Ok(Self(files.swap_remove(free)))
    }
}

/// A lock on one byte of a file.
///
/// The file stays empty, and has a lock for each number. The lock belongs to the open file description
/// (`F_OFD_SETLK`): a process that inherits the descriptor holds the lock as well, until that process ends
/// or this value is dropped.
#[derive(Debug)]
pub struct ByteLock(File);

impl ByteLock {
    /// Takes the lock on a byte of a file; none where it is taken.
    ///
    /// Makes a missing file.
    pub fn try_take(path: &Path, byte: u64) -> Result<Option<Self>, LockError> {
        let file = open(path)?;
        Ok(Self::try_lock(&file, path, byte)?.then_some(Self(file)))
    }

    /// Takes the lock on a byte of a file; waits up to `patience`.
    pub fn take(path: &Path, byte: u64, patience: Duration) -> Result<Self, LockError> {
        let file = open(path)?;
        let taken = wait(patience, || Ok(Self::try_lock(&file, path, byte)?.then_some(())))?;
        match taken {
            Some(()) => Ok(Self(file)),
            None => Err(held(path, patience, &[])),
        }
    }

    fn try_lock(file: &File, path: &Path, byte: u64) -> Result<bool, LockError> {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_WRLCK, byte, 1))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(failed(path, "fcntl")(errno.into())),
        }
    }
}

impl Drop for ByteLock {
    /// Unlocks the file: closing it alone would leave the lock to a process that inherited it.
    fn drop(&mut self) {
        fcntl(&self.0, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK, 0, 0))).ok();
    }
}

/// A range of bytes of a file; length 0 reaches to the end.
fn range(kind: i32, start: u64, length: i64) -> libc::flock {
    #[expect(clippy::cast_possible_truncation, reason = "these constants are of one digit")]
    let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    let l_start = i64::try_from(start).unwrap_or(i64::MAX - 1);
    libc::flock { l_type, l_whence, l_start, l_len: length, l_pid: 0 }
}

impl AsFd for ByteLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(path: &Path) -> Result<File, LockError> {
    Ok(private::file(OpenOptions::new().create(true).append(true), path)?)
}

fn failed(path: &Path, call: &'static str) -> impl FnOnce(io::Error) -> LockError {
    let path = path.to_owned();
    move |source| LockError::Call { path, call, source }
}

fn held(path: &Path, waited: Duration, files: &[&File]) -> LockError {
    let look = || {
        let table = fs::read_to_string("/proc/locks").unwrap_or_default();
        files.iter().flat_map(|file| holders(&table, file)).collect::<Vec<_>>()
    };
    let found = (0..LOOKS).map(|_| look()).find(|holders| !holders.is_empty());
    let holders = found.unwrap_or_default();
    LockError::Held { path: path.to_owned(), waited, holders }
}

/// Calls `attempt` until it returns something, for up to `patience`.
fn wait<T>(
    patience: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>, LockError>,
) -> Result<Option<T>, LockError> {
    for _ in 0..YIELDS {
        if let Some(taken) = attempt()? {
            return Ok(Some(taken));
        }
        thread::yield_now();
    }
    let mut waited = Duration::ZERO;
    loop {
        if let Some(taken) = attempt()? {
            return Ok(Some(taken));
        }
        if waited >= patience {
            return Ok(None);
        }
        let begun = Instant::now();
        let longest = LONGEST_NAP.max(waited / LATE_SHARE);
        thread::park_timeout((waited / SHARE).clamp(SHORTEST_NAP, longest));
        waited += begun.elapsed().min(LONGEST_COUNTED);
    }
}

/// The holders of a file's lock, by the kernel's table of locks.
fn holders(table: &str, file: &File) -> Vec<Holder> {
    let Ok(found) = file.metadata() else { return Vec::new() };
    let (major, minor) = (major(found.dev()), minor(found.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", found.ino());
    let pids = table.lines().filter_map(|line| pid(line, &place));
    pids.map(holder).collect()
}

/// The holder's process id, from a line about the file at `place`.
///
/// None for other files, and for waiting processes: their lines have an arrow (`lock_get_status` in
/// `fs/locks.c`).
fn pid(line: &str, place: &str) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    let [kind, _advisory, _access, pid, at] = std::array::from_fn(|_| words.next());
    (kind? == "FLOCK" && at? == place).then_some(pid?.parse().ok()?)
}

fn holder(pid: u32) -> Holder {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let command = read("comm").trim_end().to_owned();
    // The command stands before the state, in brackets, and may itself hold brackets.
    let stat = read("stat");
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    Holder { pid, command, stopped: matches!(state, Some('T' | 't')) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[test]
    fn a_lock_that_stays_held_is_an_error_that_names_file_and_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.lock");
        let held = Lock::exclusive(&path, SOON).unwrap();
        for kind in [Kind::Shared, Kind::Exclusive] {
            let error = take(&File::open(&path).unwrap(), &path, kind, SOON).unwrap_err();
            let LockError::Held { holders, .. } = &error else { panic!("{error}") };
            assert_eq!(holders.len(), 1, "{error}");
            assert_eq!(holders[0].pid, std::process::id(), "{error}");
            assert!(error.to_string().contains("some.lock"), "{error}");
        }
        drop(held);
        Lock::exclusive(&path, SOON).unwrap();
    }

    #[test]
    fn who_waits_gets_it_when_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::exclusive(&path, SOON).unwrap();
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| done.send(Lock::exclusive(&path, LOCK_TIMEOUT).map(drop)));
            assert!(is_done.recv_timeout(SOON).is_err());
            drop(held);
            is_done.recv().unwrap().unwrap();
        });
    }

    /// The waiting call gets the lock that is released first.
    #[test]
    fn who_waits_for_any_gets_the_one_that_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
        let take = || Lock::any(&paths, SOON).unwrap();
        let mut locks = vec![take(), take(), take()];
        let error = Lock::any(&paths, SOON).unwrap_err();
        assert!(matches!(&error, LockError::Held { holders, .. } if holders.len() == 3), "{error}");
        for number in [1, 0, 2] {
            drop(locks.remove(number));
            locks.insert(number, take());
        }
    }

    #[test]
    fn those_who_wait_hold_nothing() {
        let lines = "1: FLOCK  ADVISORY  WRITE 17 00:2f:56 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 18 00:2f:56 0 EOF\n\
                     2: OFDLCK ADVISORY  WRITE -1 00:2f:56 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 19 00:2f:57 0 EOF\n";
        let pids: Vec<_> = lines.lines().filter_map(|line| pid(line, "00:2f:56")).collect();
        assert_eq!(pids, [17]);
    }
}
