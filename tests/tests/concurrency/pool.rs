//! One pool, and processes that build for it at the same time.

use anyhow::{Result, ensure};
use repoint_tests::with_pool;
use serde_json::json;

use crate::both;

/// How often two processes fill a pool at once.
const ROUNDS: usize = 16;

/// Each finds room before the other has taken it. What one lacks the other has built.
#[test]
fn two_that_fill_a_pool_at_once_succeed() -> Result<()> {
    with_pool(&json!({ "warm": 3, "maxSlots": 3 }), |pooled| {
        for round in 0..ROUNDS {
            both(|| pooled.fill(), || pooled.fill())?;
            let pool = pooled.pool()?;
            ensure!((pool.warm, pool.total) == (3, 3), "round {round}: {pool:?}");
            pooled.repoint(&["pool", "drain", pooled.network().name()])?;
        }
        Ok(())
    })
}

/// An order for more than there is room for builds what it can, and says why that is not all.
#[test]
fn of_two_orders_that_exceed_the_pool_one_says_so() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 3 }), |pooled| {
        let name = pooled.network().name();
        let order = || Ok(pooled.repoint(&["pool", "fill", name, "--count", "2"]));
        let (one, other) = both(order, order)?;
        let refused: Vec<String> = [one, other]
            .into_iter()
            .filter_map(|order| Some(format!("{:#}", order.err()?)))
            .collect();
        ensure!(refused.len() == 1, "{refused:?}");
        println!("{}", refused[0]);
        ensure!(refused[0].contains("has room for"), "{refused:?}");
        let total = pooled.pool()?.total;
        ensure!((2..=3).contains(&total), "{total} slots");
        Ok(())
    })
}
