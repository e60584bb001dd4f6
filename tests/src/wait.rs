//! Waiting for a condition, with a deadline.

use std::{
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

/// Tries until `attempt` succeeds, or fails with its last error when `limit` is over.
pub fn until<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
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
