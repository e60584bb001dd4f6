//! What a scrub costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::fixture::{clean, with_slot};

/// Scrubs that are measured.
const ROUNDS: usize = 200;

#[test]
#[ignore = "a measurement: cargo test -p repoint-tests --test slot_scrub -- --ignored --nocapture"]
fn the_cost_of_a_clean_scrub() -> Result<()> {
    with_slot(|slot| {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            slot.wait_for_sockets()?;
            let start = Instant::now();
            let scrubbed = slot.scrub()?;
            times.push(start.elapsed());
            ensure!(scrubbed == clean(), "{scrubbed:?}");
        }
        times.sort_unstable();
        let at = |share: usize| micros(times[ROUNDS * share / 100]);
        println!("a clean scrub: {} µs at the median, {} at p10, {} at p90", at(50), at(10), at(90));
        Ok(())
    })
}

fn micros(time: Duration) -> u128 {
    time.as_micros()
}
