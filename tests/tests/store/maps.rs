//! Maps that are full.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use repoint::datapath::{DatapathError, Maps};
use repoint_common::endpoint::Endpoint;
use repoint_tests::{Pooled, command, pooled::SOON, wait, with_pool};
use serde_json::json;

use crate::{everything_works, run_cli};

/// Fills the map of IPv4 addresses with those of nobody; says how many it took.
fn fill(pooled: &Pooled<'_>) -> Result<u32> {
    let maps = Maps::open_existing(&pooled.node().dirs().bpf)?.context("no data plane")?;
    let nobody = Endpoint {
        ifindex: 0x7fff_ffff,
        identity: 0,
        mac: [2; 6],
        flags: 0,
        tenant: 0,
        padding: 0,
        epoch: 0,
    };
    for number in 0..1 << 17 {
        let address = IpAddr::V4(Ipv4Addr::from(0xc612_0000 + number));
        match maps.insert_endpoint(address, &nobody) {
            Ok(()) => {}
            Err(DatapathError::Full { .. }) => return Ok(number),
            Err(other) => return Err(other.into()),
        }
    }
    anyhow::bail!("the map is never full")
}

#[test]
fn a_full_map_is_named_and_nothing_is_left_of_the_add() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        println!("{} addresses of nobody", fill(pooled)?);
        // What has its entries is served as ever.
        let (one, two) = (pooled.add()?, pooled.add()?);
        let error = pooled.refused("ADD", |pod| pod)?;
        ensure!(error.msg.contains("endpoints_v4 is full"), "{error:?}");
        ensure!(error.msg.contains("repoint sweep"), "{error:?}");
        let links = || command::run("ip", ["-o", "link", "show", "group", "29297"]);
        ensure!(links()?.lines().count() == 2, "{}", links()?);
        [&one, &two].into_iter().try_for_each(|container| container.check())?;
        one.remove()?;
        two.remove()?;
        let (status, said) = run_cli(pooled, &["sweep"])?;
        ensure!(status == 0, "{said}");
        everything_works(pooled)
    })
}

/// It tries again after a while, and not over and over.
#[test]
fn an_agent_that_cannot_build_does_not_run_hot() -> Result<()> {
    with_pool(&json!({ "warm": 2, "maxSlots": 16 }), |pooled| {
        pooled.fill()?;
        fill(pooled)?;
        let (one, two) = (pooled.add()?, pooled.add()?);
        // Its sweep, when it starts, makes room: what is asked for comes by itself.
        let agent = pooled.agent()?;
        let log = agent.log()?;
        let failures = log.matches("endpoints_v4 is full").count();
        println!("{failures} failures");
        ensure!(failures <= 3, "{log}");
        one.remove()?;
        two.remove()?;
        wait::until(SOON, "the pool is full", || {
            let pool = pooled.pool()?;
            ensure!(pool.warm >= pool.target && pool.warm == pool.total, "{pool:?}");
            Ok(())
        })?;
        agent.stop()
    })
}
