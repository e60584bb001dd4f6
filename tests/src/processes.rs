//! Processes that are left in a node when it ends.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    process,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait;

/// Processes that are in one of the namespaces, and their descendants, which may have left it:
/// containers.
pub(crate) fn all_in(mounts: &File, netns: &File) -> Result<BTreeSet<i32>> {
    processes_in(&[("mnt", inode(mounts)?), ("net", inode(netns)?)])
}

/// Names of the processes that are in the calling thread's mount or network namespace, this one left
/// out, with their command lines.
pub(crate) fn beside() -> Result<BTreeSet<String>> {
    let own = |kind: &str| {
        let path = format!("/proc/thread-self/ns/{kind}");
        File::open(&path).with_context(|| format!("open {path}"))
    };
    let found = all_in(&own("mnt")?, &own("net")?)?;
    let command_line = |pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).ok();
    Ok(found.into_iter().filter_map(command_line).map(|line| line.replace('\0', " ")).collect())
}

/// Kills the processes that are in one of the namespaces, and their descendants. Waits until they are gone.
pub(crate) fn end_all_in(mounts: &File, netns: &File) -> Result<()> {
    wait::until(Duration::from_secs(10), "ending a node's processes", || {
        let left = all_in(mounts, netns)?;
        for &pid in &left {
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("kill {pid}")),
            }
        }
        ensure!(left.is_empty(), "still there: {left:?}");
        Ok(())
    })
}

fn processes_in(namespaces: &[(&str, u64)]) -> Result<BTreeSet<i32>> {
    let own = i32::try_from(process::id())?;
    let all: Vec<Process> = pids()?.into_iter().filter_map(Process::read).collect();
    let mut found: BTreeSet<i32> = all
        .iter()
        .filter(|process| process.pid != own && process.is_in_any(namespaces))
        .map(|process| process.pid)
        .collect();
    loop {
        let before = found.len();
        found.extend(
            all.iter().filter(|p| found.contains(&p.parent)).map(|p| p.pid).collect::<Vec<_>>(),
        );
        if found.len() == before {
            return Ok(found);
        }
    }
}

fn pids() -> Result<Vec<i32>> {
    let entries = fs::read_dir("/proc").context("read /proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn inode(namespace: &File) -> Result<u64> {
    Ok(namespace.metadata().context("fstat a namespace")?.ino())
}

struct Process {
    pid: i32,
    parent: i32,
}

impl Process {
    /// Reads a running process. None if it has ended, or is a zombie that its parent has only to reap.
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold spaces and parentheses (proc_pid_stat(5)).
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        (state != "Z").then_some(Self { pid, parent })
    }

    fn is_in_any(&self, namespaces: &[(&str, u64)]) -> bool {
        namespaces.iter().any(|(kind, inode)| {
            fs::metadata(format!("/proc/{}/ns/{kind}", self.pid))
                .is_ok_and(|found| found.ino() == *inode)
        })
    }
}
