//! What a scrub costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::time::{ClockId, clock_gettime};

use super::fixture::{clean, with_slot};

/// Scrubs that are measured.
const ROUNDS: usize = 200;

#[test]
#[ignore = "a measurement: cargo test -p repoint-tests --test slot_scrub -- --ignored --nocapture"]
fn the_cost_of_a_clean_scrub() -> Result<()> {
    with_slot(|slot| {
        let (mut elapsed, mut computed) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            slot.wait_for_sockets()?;
            let (start, began) = (Instant::now(), cpu_time()?);
            let scrubbed = slot.scrub()?;
            computed.push(cpu_time()?.saturating_sub(began));
            elapsed.push(start.elapsed());
            ensure!(scrubbed == clean(), "{scrubbed:?}");
        }
        println!("a clean scrub takes {} and computes {}", shares(elapsed), shares(computed));
        Ok(())
    })
}

/// CPU time of this thread, which a busy machine does not lengthen much.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn shares(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times[ROUNDS * share / 100].as_micros();
    format!("{} µs at the median ({} at p10, {} at p90)", at(50), at(10), at(90))
}
