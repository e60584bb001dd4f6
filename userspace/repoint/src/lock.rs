//! Locks of files (`flock(2)`), with a deadline: who holds one may be stopped, by a signal, a debugger
//! or the freezer of its cgroup, and nobody is to wait for that for ever.
//!
//! A blocking flock has no deadline, and only a signal's handler gets a thread out of it. So it is tried
//! again and again: at once, then behind all others that want to run (its holder keeps it for
//! microseconds, if it gets to run), then after naps that grow with the time waited. Two hundred processes
//! at one lock are through as soon as they are with a blocking one.
//!
//! Who waits has no place in a queue. The kernel gives none for a blocking flock either: it lets readers
//! in beside readers while a writer waits. Readers cannot keep a writer out for long: to open the
//! database is to have it alone for a moment, and a process that has it open reads with one thread at a
//! time.

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

/// For how long a lock is waited for: less than runtimes give a call.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How often others are let run before the first nap.
const YIELDS: u32 = 8;
/// The first naps.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
/// The longest within the first second: where a lock is hardly ever free, who naps for longer does not
/// meet that moment.
const LONGEST_NAP: Duration = Duration::from_millis(1);
/// Later a nap may be the time waited divided by this: a holder is stopped, and hundreds may wait.
const LATE_SHARE: u32 = 1000;
/// A nap is the time waited so far divided by this: so much later than possible it is over at most.
const SHARE: u32 = 8;
/// What a nap counts for at most. One that took longer was not waiting: we were stopped ourselves, and
/// the holder of the lock perhaps with us.
const LONGEST_COUNTED: Duration = Duration::from_millis(100);

/// A file's lock cannot be had.
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
    /// Others hold it for too long.
    #[error("cannot lock {path}: it was not free for {} s: {}", waited.as_secs(), reported(path, holders))]
    Held {
        /// The file.
        path: PathBuf,
        /// For how long it was waited for.
        waited: Duration,
        /// Who holds it, as far as that can be seen.
        holders: Vec<Holder>,
    },
}

impl LockError {
    /// Whether others hold it.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }
}

/// What is known of the holders, and what a person can do.
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
    /// Its number.
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
    /// With others that hold it so.
    Shared,
    /// Alone.
    Exclusive,
}

/// Takes the lock of an open file, which `path` names in errors; it is the open file's, until that is
/// unlocked or closed.
pub fn take(file: &File, path: &Path, kind: Kind, patience: Duration) -> Result<(), LockError> {
    let taken = wait(patience, || Ok(try_take(file, path, kind)?.then_some(())))?;
    taken.ok_or_else(|| held(path, patience, &[file]))
}

/// Takes the lock of an open file if it is free; says whether it was.
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

/// A lock that is held alone, until this is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held, not looked at")] File);

impl Lock {
    /// Takes the lock of the file at a path, which is made where there is none.
    pub fn exclusive(path: &Path, patience: Duration) -> Result<Self, LockError> {
        let file = open(path)?;
        take(&file, path, Kind::Exclusive, patience)?;
        Ok(Self(file))
    }

    /// Takes the lock of any of the files at these paths.
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

/// A lock on one byte of a file, which stays empty: as many locks as there are numbers.
///
/// It is the open file's (`F_OFD_SETLK`): a process that inherits the descriptor holds it as well, until it
/// ends, or until this is dropped.
#[derive(Debug)]
pub struct ByteLock(File);

impl ByteLock {
    /// Takes the lock on a byte of the file at a path, which is made where there is none; none where it is
    /// taken.
    pub fn try_take(path: &Path, byte: u64) -> Result<Option<Self>, LockError> {
        let file = open(path)?;
        Ok(Self::try_lock(&file, path, byte)?.then_some(Self(file)))
    }

    /// The same, and waits for as long as `patience`.
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
    /// Unlocks the file: to close it here would leave the lock to a process that inherited it.
    fn drop(&mut self) {
        fcntl(&self.0, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK, 0, 0))).ok();
    }
}

/// A range of bytes of a file; a length of 0 is all behind its beginning.
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
    let table = fs::read_to_string("/proc/locks").unwrap_or_default();
    let holders = files.iter().flat_map(|file| holders(&table, file)).collect();
    LockError::Held { path: path.to_owned(), waited, holders }
}

/// Calls `attempt` until it has something, for as long as `patience`.
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

/// Who holds a file's lock, by the kernel's table of locks.
fn holders(table: &str, file: &File) -> Vec<Holder> {
    let Ok(found) = file.metadata() else { return Vec::new() };
    let (major, minor) = (major(found.dev()), minor(found.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", found.ino());
    let pids = table.lines().filter_map(|line| pid(line, &place));
    pids.map(holder).collect()
}

/// Whose a line of the table is, if it is of a lock that is held on the file in this place; those who
/// wait have an arrow (`lock_get_status` in `fs/locks.c`).
fn pid(line: &str, place: &str) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    let [kind, _advisory, _access, pid, at] = std::array::from_fn(|_| words.next());
    (kind? == "FLOCK" && at? == place).then_some(pid?.parse().ok()?)
}

fn holder(pid: u32) -> Holder {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let command = read("comm").trim_end().to_owned();
    // The command stands before it in brackets, and may hold any.
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

    /// Whichever is given back first.
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
