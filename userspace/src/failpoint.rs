//! Points at which tests kill the process, to see that nothing leaks.
//!
//! Compiled to nothing but with feature `failpoints`, which no shipped executable has. Each stands
//! between two steps that touch the kernel or the database, and is named for the step before it.

/// Kills the process with SIGKILL if the environment variable `REPOINT_FAILPOINT` is `name`.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    if std::env::var_os("REPOINT_FAILPOINT").is_some_and(|wanted| wanted == name) {
        // The kernel kills before this returns.
        drop(nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL));
    }
}

/// Does nothing: this is no test build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn hit(_name: &str) {}
