//! The seed and the number of cases.

use std::{env, time::SystemTime};

/// Repeats a seed.
const SEED: &str = "REPOINT_POLICY_SEED";
/// Sets the number of cases.
const CASES: &str = "REPOINT_POLICY_CASES";

/// The seed, which is printed; by the clock where none is set.
pub fn seed() -> u64 {
    let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros().try_into().unwrap();
    let seed = number(SEED).unwrap_or_else(clock);
    println!("{SEED}={seed}");
    seed
}

/// The number of cases, if another one is not set.
pub fn cases(default: u64) -> u64 {
    number(CASES).unwrap_or(default)
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
