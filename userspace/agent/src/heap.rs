//! One heap for all threads.

use std::{env, io::Error, os::unix::process::CommandExt as _, process::Command};

/// Variable that limits glibc's heaps. glibc reads it when a process begins: it says how many heaps
/// glibc makes for threads that allocate at the same time (`mallopt(3)`).
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// Ensures that the process has one heap, unless its environment says otherwise.
///
/// The agent works in threads that live for a round. glibc gives threads that allocate at the same
/// time heaps of their own, 16 of them on two processors. Each heap keeps the memory that it once
/// had: after 20,000 containers the agent has 10 MiB, and rising, instead of 4. Therefore the agent
/// executes itself once more, as the same process.
///
/// # Errors
/// Where that fails; the agent can go on as it is.
pub(crate) fn keep_one() -> Result<(), Error> {
    if env::var_os(HEAPS).is_some() {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let mut again = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).env(HEAPS, "1").exec())
}
