//! Waiting for a condition, with a deadline.

use std::{
    env,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// Longest wait between two looks at the condition.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
fn pause(time: Duration) {
    thread::sleep(time);
}

/// A limit of time as it is on this machine: `REPOINT_PATIENCE` times as long, where an emulated one sets
/// it.
#[must_use]
pub fn patient(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let read = || env::var("REPOINT_PATIENCE").ok()?.parse().ok();
    limit * *FACTOR.get_or_init(|| read().unwrap_or(1).max(1))
}

/// Tries until `attempt` succeeds, or fails with its last error when `limit` is over.
pub fn until<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let limit = patient(limit);
    let deadline = Instant::now() + limit;
    let mut time = Duration::from_millis(1);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("{what}, not after {limit:?}"));
            }
            Err(_) => pause(time),
        }
        time = (time * 2).min(LONGEST_PAUSE);
    }
}
