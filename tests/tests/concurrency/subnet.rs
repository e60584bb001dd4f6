//! Networks that have a subnet in common.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Result, bail, ensure};
use repoint_tests::{plugin::Network, with_pool};
use serde_json::{Value, json};

use crate::{Candidate, both, ordinary};

/// Addresses of a /28 that containers get: all but the network's, the gateway's and the broadcast's.
const ROOM: usize = 13;
/// The project's code for want of an address.
const NO_ADDRESS: u32 = 102;

/// Both add until nothing is left: no address is given twice, and none is left over.
#[test]
fn networks_with_a_subnet_in_common_share_its_addresses() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 32 }), |pooled| {
        let ranges = json!([[{ "subnet": "10.219.9.0/28" }]]);
        let narrow = |configuration: &mut Value| configuration["ipam"]["ranges"] = ranges.clone();
        let (_, one) = pooled.reconfigured(narrow)?;
        let two = pooled.network_with(|configuration| {
            narrow(configuration);
            configuration["name"] = json!("neighbour");
            configuration.as_object_mut().map(|keys| keys.remove("pool"));
        })?;
        let (first, second) = both(|| exhaust(&one, "a"), || exhaust(&two, "b"))?;
        println!("{} and {} containers", first.len(), second.len());
        let all: Vec<_> = first.iter().chain(&second).map(|(_, address)| *address).collect();
        let different: BTreeSet<_> = all.iter().copied().collect();
        ensure!(different.len() == all.len(), "one was given twice: {all:?}");
        ensure!(all.len() == ROOM, "{all:?}");
        for (network, containers) in [(&one, first), (&two, second)] {
            for (container, _) in containers {
                network.del(&container.attachment, None)?;
                container.netns.remove()?;
            }
        }
        Ok(())
    })
}

/// Adds containers until there is no address.
fn exhaust(network: &Network, name: &str) -> Result<Vec<(Candidate, IpAddr)>> {
    let mut containers = Vec::new();
    for number in 0..=ROOM {
        let container = Candidate::new(&format!("{name}{number}"))?;
        match container.call(network, "ADD")? {
            Ok(result) => containers.push((container, address(&result)?)),
            Err(error) if error.code == NO_ADDRESS => {
                println!("{name}: {}", error.msg);
                return Ok(containers);
            }
            Err(error) => bail!("{error:?}"),
        }
    }
    bail!("{name}: addresses do not end")
}

fn address(result: &Value) -> Result<IpAddr> {
    let text = result["ips"][0]["address"].as_str().context("no address")?;
    let (address, _) = text.split_once('/').context("an address has no prefix length")?;
    address.parse().with_context(|| format!("address {text}"))
}

/// What another plugin gives is not given twice either: the later ADD fails, and says whose it is.
#[test]
fn an_address_that_another_plugin_gives_as_well_is_refused() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 4 }), |pooled| {
        let own = ordinary(pooled)?;
        let holder = Candidate::new("holder")?;
        let held = address(&own.add(&holder.attachment)?)?;
        let other = pooled.network_with(|configuration| {
            configuration["name"] = json!("delegated");
            configuration["cniVersion"] = json!("1.0.0");
            configuration.as_object_mut().map(|keys| keys.remove("pool"));
            configuration["ipam"] = json!({
                "type": "host-local",
                "ranges": [[{ "subnet": "10.218.9.0/24", "rangeStart": held, "rangeEnd": held }]],
            });
        })?;
        let late = Candidate::new("late")?;
        match late.call(&other, "ADD")? {
            Err(error) => {
                println!("code {}: {}", error.code, error.msg);
                ensure!(error.code == NO_ADDRESS, "{error:?}");
                ensure!(error.msg.contains(&held.to_string()), "{error:?}");
            }
            Ok(result) => bail!("{result}"),
        }
        own.del(&holder.attachment, None)?;
        // It is free then: the ADD that failed has given it back to its plugin.
        other.add(&late.attachment)?;
        other.del(&late.attachment, None)?;
        holder.netns.remove()?;
        late.netns.remove()
    })
}
