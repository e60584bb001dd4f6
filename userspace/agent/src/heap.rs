//! One heap for all threads.

use std::{env, io::Error, os::unix::process::CommandExt as _, process::Command};

/// glibc reads it as a process begins: how many heaps it makes for threads that allocate at the same
/// time (`mallopt(3)`).
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// Ensures that the process has one heap, unless its environment says otherwise.
///
/// The agent's work is done by threads that live for a round. glibc gives those that meet heaps of their
/// own, 16 of them on two processors, each of which keeps what it once had: after 20,000 containers 10
/// MiB, and rising, instead of 4. So the agent executes itself once more, as the same process.
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
