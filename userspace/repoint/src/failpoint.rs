//! Points at which tests kill or stop the process to find leaks.
//!
//! Without feature `failpoints`, which no shipped executable has, a point compiles to nothing. Each point
//! stands between two steps that touch the kernel, the database or a file, and is named for the step
//! before it. `docs/crash-safety.md` lists the points.

#[cfg(feature = "failpoints")]
mod control;

/// Passes a point: kills or stops the process if the environment asks for it here.
///
/// `REPOINT_FAILPOINT=NAME[#N][=stop],…` names points: the process gets SIGKILL, or SIGSTOP, when it
/// passes the point for the N-th time, the first by default. With `REPOINT_FAILPOINT_TRACE=FILE` the
/// process appends the name of each point that it passes to a file, a line each. The line of the last
/// point is written before the process ends.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    control::pass(name);
}

/// Does nothing in a build without feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn hit(_name: &str) {}
