//! The users of a network namespace: tasks, mounts and sockets.
//!
//! A namespace lives as long as a task is in it, its file is mounted or open, or a socket that was made
//! in it exists. One scan of `/proc` finds the tasks and mounts of many namespaces from outside. The
//! kernel counts the sockets, inside. The scan does not look for descriptors of the namespace's file:
//! they move no packet, and runtimes hold them for as long as a sandbox exists.

mod scan;
mod sockets;

pub use scan::{UsageError, users};
pub use sockets::SocketsError;
pub(super) use sockets::close_ownerless;

use std::{fmt, path::PathBuf};

/// What uses a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// A task is inside.
    Task {
        /// Its process.
        process: i32,
        /// The thread.
        thread: i32,
        /// What it runs; bytes that are not plain characters stand as `\xHH`.
        command: String,
    },
    /// The namespace's file is mounted.
    Mount {
        /// Where.
        path: PathBuf,
        /// A process that sees it there.
        process: i32,
    },
    /// The scan cannot prove that nothing is inside.
    Unproved {
        /// Why not.
        reason: String,
    },
    /// Sockets were made inside.
    Sockets {
        /// How many.
        count: u32,
        /// How many TCP connections in `TIME_WAIT` beside.
        time_wait: u32,
        /// Whether the kernel could not end those that no process has
        /// (`CONFIG_INET_DIAG_DESTROY`).
        indestructible: bool,
    },
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task { process, thread, command } => {
                write!(f, "process {process} ({command}, thread {thread}) is inside")
            }
            Self::Mount { path, process } => {
                write!(f, "it is mounted at {}, as process {process} sees it", path.display())
            }
            Self::Unproved { reason } => f.write_str(reason),
            Self::Sockets { count, time_wait, indestructible } => {
                write!(f, "{count} sockets and {time_wait} TCP connections in TIME_WAIT are left")?;
                match indestructible {
                    true => f.write_str("; the kernel cannot end them (CONFIG_INET_DIAG_DESTROY)"),
                    false => Ok(()),
                }
            }
        }
    }
}
