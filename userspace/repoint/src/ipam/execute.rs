//! Running another plugin: standard input in, standard output out, within a time.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    io::{Errno, FdFlags, fcntl_setfd},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Most of a plugin's standard output that is read, bytes. A result has some hundred.
const MOST_OUTPUT: u64 = 1 << 20;

use crate::{lock::ByteLock, netns::keep_to_this_process};

/// A process that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub output: Vec<u8>,
}

/// A process could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// A system call around it failed.
    #[error("{call}")]
    System {
        /// Which.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The executable cannot be executed.
    #[error("executing it")]
    Spawn(#[source] io::Error),
    /// Its standard output is longer than any result.
    #[error("its standard output is longer than {0} bytes")]
    TooLong(u64),
    /// It took too long, and was killed.
    #[error("it did not finish within {} s and was killed", .0.as_secs())]
    Timeout(Duration),
}

/// A child that is killed and reaped when it is dropped before its end.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both fail only where the child is reaped already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs an executable to its end, or kills it after `limit`.
///
/// The executable inherits this process's standard error and environment; `variables` override the
/// latter. Standard input and output are files in memory, not pipes: neither side can block the other,
/// and a process that the executable leaves behind cannot delay the caller. If this process is killed,
/// the executable still has all its input and an output to write to, and ends by itself. The executable
/// inherits `lock`, and so holds the lock until it ends.
pub(super) fn execute(
    executable: &Path,
    variables: &[(&'static str, OsString)],
    input: &[u8],
    lock: Option<&ByteLock>,
    limit: Duration,
) -> Result<Finished, ExecuteError> {
    let mut output = File::from(memory_file("repoint-stdout")?);
    let stdout = output.try_clone().map_err(system("dup of a file in memory"))?;
    keep_to_this_process().map_err(system("close_range"))?;
    if let Some(lock) = lock {
        fcntl_setfd(lock, FdFlags::empty()).map_err(errno("fcntl of a lock's file"))?;
    }
    let child = Command::new(executable)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(input_file(input)?)
        .stdout(stdout)
        .spawn()
        .map_err(ExecuteError::Spawn)?;
    let status = wait(Guarded(child), limit)?;
    Ok(Finished { status, output: content(&mut output)? })
}

/// Waits for a child's end, and kills the child after `limit`.
fn wait(mut child: Guarded, limit: Duration) -> Result<ExitStatus, ExecuteError> {
    let pid = Pid::from_child(&child.0);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(errno("pidfd_open"))?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| ExecuteError::Timeout(limit))?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(ExecuteError::Timeout(limit)),
            Ok(_) => return child.0.wait().map_err(system("waiting for it")),
            Err(Errno::INTR) => {}
            Err(error) => return Err(errno("poll of a pidfd")(error)),
        }
    }
}

fn memory_file(name: &str) -> Result<OwnedFd, ExecuteError> {
    memfd_create(name, MemfdFlags::CLOEXEC).map_err(errno("memfd_create"))
}

fn input_file(input: &[u8]) -> Result<Stdio, ExecuteError> {
    let mut file = File::from(memory_file("repoint-stdin")?);
    let filled = file.write_all(input).and_then(|()| file.rewind());
    filled.map_err(system("writing a file in memory"))?;
    Ok(file.into())
}

fn content(file: &mut File) -> Result<Vec<u8>, ExecuteError> {
    let mut content = Vec::new();
    let read = file.rewind().and_then(|()| file.take(MOST_OUTPUT + 1).read_to_end(&mut content));
    match read.map_err(system("reading a file in memory"))? {
        length if length as u64 > MOST_OUTPUT => Err(ExecuteError::TooLong(MOST_OUTPUT)),
        _ => Ok(content),
    }
}

fn system(call: &'static str) -> impl Fn(io::Error) -> ExecuteError {
    move |source| ExecuteError::System { call, source }
}

fn errno(call: &'static str) -> impl Fn(Errno) -> ExecuteError {
    move |source| ExecuteError::System { call, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a shell script, which is the shell's input.
    fn shell(script: &str, limit: Duration) -> Result<Finished, ExecuteError> {
        execute(Path::new("/bin/sh"), &[("ANSWER", "42".into())], script.as_bytes(), None, limit)
    }

    const AMPLE: Duration = Duration::from_mins(1);

    #[test]
    fn output_and_status_come_back() {
        let finished = shell("echo $ANSWER; exit 3", AMPLE).unwrap();
        assert_eq!(finished.output, b"42\n");
        assert_eq!(finished.status.code(), Some(3));
    }

    #[test]
    fn it_inherits_nothing_but_the_standard_three() {
        let folder = tempfile::tempdir().unwrap();
        let _store = crate::store::Store::open(folder.path()).unwrap();
        let finished = shell("readlink /proc/self/fd/*", AMPLE).unwrap();
        let files = String::from_utf8(finished.output).unwrap();
        assert!(!files.contains("data.mdb") && files.lines().count() >= 3, "{files}");
    }

    #[test]
    fn much_input_and_output_block_nobody() {
        let comment = format!("#{}\n", "x".repeat(1 << 20));
        let script = format!("{comment}head -c {MOST_OUTPUT} /dev/zero");
        let finished = shell(&script, AMPLE).unwrap();
        assert_eq!(finished.output.len() as u64, MOST_OUTPUT);
    }

    #[test]
    fn output_that_is_longer_than_any_result_is_an_error() {
        let error = shell("head -c 3000000 /dev/zero", AMPLE).unwrap_err();
        assert!(matches!(error, ExecuteError::TooLong(MOST_OUTPUT)), "{error}");
    }

    #[test]
    fn one_that_takes_too_long_is_killed() {
        let began = Instant::now();
        let error = shell("exec sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ExecuteError::Timeout(_)), "{error}");
        assert!(began.elapsed() < AMPLE, "{:?}", began.elapsed());
    }

    #[test]
    fn what_it_leaves_running_does_not_keep_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = ByteLock::try_take(&path, 7).unwrap().unwrap();
        let script = "sleep 600 & echo $!";
        let shell = Path::new("/bin/sh");
        let finished = execute(shell, &[], script.as_bytes(), Some(&lock), AMPLE).unwrap();
        assert!(ByteLock::try_take(&path, 7).unwrap().is_none());
        drop(lock);
        assert!(ByteLock::try_take(&path, 7).unwrap().is_some());
        let left = String::from_utf8(finished.output).unwrap();
        assert!(Command::new("kill").arg(left.trim()).status().unwrap().success());
    }

    #[test]
    fn what_it_leaves_running_is_not_waited_for() {
        let began = Instant::now();
        let finished = shell("sleep 600 & echo $!", AMPLE).unwrap();
        let left = String::from_utf8(finished.output).unwrap();
        let killed = Command::new("kill").arg(left.trim()).status().unwrap();
        assert!(killed.success() && began.elapsed() < AMPLE, "{:?}", began.elapsed());
    }
}
