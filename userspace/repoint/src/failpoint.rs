//! Points at which tests end the process, or hold it, to see that nothing leaks.
//!
//! Compiled to nothing but with feature `failpoints`, which no shipped executable has. Each stands
//! between two steps that touch the kernel, the database or a file, and is named for the step before
//! it. `docs/crash-safety.md` lists them.

#[cfg(feature = "failpoints")]
mod control;

/// Passes a point: kills or stops the process if the environment asks for it here.
///
/// `REPOINT_FAILPOINT=NAME[#N][=stop],…` names points: SIGKILL, or SIGSTOP, when the process passes
/// it for the N-th time, the first by default. `REPOINT_FAILPOINT_TRACE=FILE` has the name of each
/// point that is passed appended to a file, a line each, that of the last one before it ends.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    control::pass(name);
}

/// Does nothing: this is no test build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn hit(_name: &str) {}
