//! What hundreds of containers leave behind: nothing that can be counted. `cargo xtask endure` runs
//! thousands, and looks at memory as well.
#![cfg(test)]

use anyhow::{Result, ensure};
use repoint_tests::{
    endurance::{
        SWEEPING,
        load::{self, Load},
        sample::Census,
    },
    node::Uplink,
    with_network,
};

/// Pairs before the first count: what is made for the first container is kept.
const WARM_UP: usize = 50;
/// Pairs before the second.
const PAIRS: usize = 600;

#[test]
fn hundreds_of_containers_leave_every_number_as_it_was() -> Result<()> {
    with_network(
        Uplink::FIRST,
        |configuration| configuration["pool"] = load::pool(),
        |pooled| {
            let agent = pooled.agent_sweeping(SWEEPING)?;
            let load = Load::new(pooled)?;
            load.run(WARM_UP)?;
            let before = Census::take(pooled, agent.pid())?;
            let took = load.run(PAIRS)?;
            ensure!(took.dels.len() == PAIRS, "{} DELs", took.dels.len());
            println!("{PAIRS} pairs in {:?}: {:?}", took.wall, pooled.pool()?.adds);
            let after = before.wait_until_restored(pooled, agent.pid())?;
            println!("{after}");
            agent.stop()
        },
    )
}
