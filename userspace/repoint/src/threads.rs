//! Starts threads, and reports an error where the kernel refuses another thread.
//!
//! `std::thread::Scope::spawn` panics there.

use std::{
    io,
    thread::{self, Builder, Scope, ScopedJoinHandle},
};

/// A thread did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The kernel refuses it.
    #[error(
        "cannot start a thread: {0}: raise the limit of the process that is reached, of its address space \
         (RLIMIT_AS), its data (RLIMIT_DATA) or the number of threads (pids.max of its cgroup)"
    )]
    Spawn(#[source] io::Error),
    /// It ended early.
    #[error("a thread that goes in and out of namespaces ended early")]
    Ended,
}

/// Runs `work` in a new thread, and waits for it.
pub fn run<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, ThreadError> {
    thread::scope(|scope| spawn(scope, work)?.join().map_err(|_| ThreadError::Ended))
}

/// Starts a thread in a scope.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ThreadError> {
    Builder::new().spawn_scoped(scope, work).map_err(ThreadError::Spawn)
}
