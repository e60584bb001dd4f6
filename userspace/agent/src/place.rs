//! Where the agent works: in the mount namespace of the runtimes, whatever starts it.
//!
//! A unit with `PrivateTmp=` and the like, or a container, has a mount namespace of its own, from
//! which the agent cannot reach slots' namespaces. A plugin or the CLI has recorded for which mount
//! namespace the store is.

use std::{
    env, fs, io,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use repoint::netns::{MountNamespace, NetnsStoreError, foreign_mount_namespace};

/// Interval of the check whether the agent is in the wrong mount namespace.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// Why the agent cannot work in the runtimes' mount namespace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// The runtimes' mount namespace cannot be determined.
    #[error("cannot find out where slots' namespaces are kept: {0}")]
    Unknown(#[from] NetnsStoreError),
    /// The agent sees no task in that mount namespace.
    #[error(
        "slots' namespaces are kept for another mount namespace than the agent's, and no process of it is \
         seen in /proc: run the agent without a mount namespace of its own (PrivateTmp=, PrivateMounts=, \
         ProtectSystem= and the like), or in a pod with hostPID"
    )]
    Unseen,
    /// The kernel does not let the agent in.
    #[error(
        "slots' namespaces are kept for the mount namespace at {path}, which is another than the agent's, \
         and the agent cannot go there: {source}: run it without a mount namespace of its own \
         (PrivateTmp=, PrivateMounts=, ProtectSystem= and the like), or with CAP_SYS_ADMIN and \
         CAP_SYS_CHROOT"
    )]
    Barred { path: PathBuf, source: io::Error },
    /// The same path is another folder there.
    #[error(
        "slots' namespaces are kept for the mount namespace at {path}, where {} is another folder than in \
         the agent's: give --run-dir, --state-dir and --bpf-dir as the node's, and mount them at the same \
         paths", run_dir.display()
    )]
    OtherFolder { path: PathBuf, run_dir: PathBuf },
}

/// Moves this process, which has one thread, into the runtimes' mount namespace. Returns the task's
/// file by which it entered.
pub(crate) fn enter(run_dir: &Path) -> Result<Option<PathBuf>, PlaceError> {
    let Some(home) = foreign_mount_namespace(run_dir)? else { return Ok(None) };
    let path = home.find().ok().flatten().ok_or(PlaceError::Unseen)?;
    let here = identity(run_dir);
    MountNamespace::enter(&path)
        .map_err(|source| PlaceError::Barred { path: path.clone(), source })?;
    if here != identity(run_dir) {
        return Err(PlaceError::OtherFolder { path, run_dir: run_dir.to_owned() });
    }
    Ok(Some(path))
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().map(|found| (found.dev(), found.ino()))
}

/// Executes the agent again, as the same process with one thread; returns on failure only.
pub(crate) fn begin_again() -> io::Error {
    let mut arguments = env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    again.args(arguments).exec()
}
