//! Addresses of which the node has something that is not on record: another program's route.

use anyhow::{Result, ensure};
use repoint_tests::{
    Container, command,
    traffic::{self, Host},
    with_pool,
};
use serde_json::json;

/// Routes to some of the addresses that would be given first.
const ROUTES: [(&str, &str); 3] =
    [("-4", "10.217.9.3/32"), ("-4", "10.217.9.4/32"), ("-6", "fd00:217:9::6/128")];

fn routes(verb: &str) -> Result<()> {
    ROUTES.into_iter().try_for_each(|(family, to)| {
        let mut arguments = vec![family, "route", verb, "blackhole", to];
        // The metric that the kernel takes for its own.
        if family == "-6" {
            arguments.extend(["metric", "1024"]);
        }
        command::run("ip", arguments).map(drop)
    })
}

#[test]
fn an_address_that_the_node_has_a_route_to_is_left_out() -> Result<()> {
    with_pool(&json!({ "warm": 6, "maxSlots": 16 }), |pooled| {
        routes("add")?;
        pooled.fill()?;
        let (slots, pool) = (pooled.slots()?, pooled.pool()?);
        ensure!(pool.warm == 6, "{pool:?}");
        for (_, to) in ROUTES {
            let (address, _) = to.split_once('/').unwrap_or((to, ""));
            let has = |address_of: &String| address_of.split('/').next() == Some(address);
            ensure!(!slots.iter().any(|slot| slot.addresses.iter().any(has)), "{address} is given");
        }
        routes("del")
    })
}

#[test]
fn a_container_of_its_own_gets_another_address() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 16 }), |pooled| {
        let network = pooled.network_with(|configuration| {
            drop(configuration.as_object_mut().map(|keys| keys.remove("pool")));
        })?;
        routes("add")?;
        let mut all = Vec::new();
        for _ in 0..4 {
            let one = Container::add_with(&network, &pooled.name(), |attachment| attachment)?;
            traffic::all(&Host::here("node")?, &one.host()?, &one.addresses()?)?;
            all.push(one);
        }
        all.into_iter().try_for_each(Container::remove)?;
        routes("del")
    })
}
