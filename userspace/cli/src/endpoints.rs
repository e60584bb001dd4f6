//! `repoint endpoints`.

use std::{collections::HashMap, net::IpAddr};

use repoint::{conf::Directories, model::Mac, store::Slot};
use repoint_common::endpoint::Endpoint;
use serde::Serialize;

use crate::{
    node,
    output::{CommandError, json, table},
};

/// An endpoint as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    address: IpAddr,
    ifindex: u32,
    identity: u32,
    /// Number of the tenant; 0: none.
    tenant: u32,
    mac: String,
    /// The slot that has the address on record; none: no slot has it.
    slot: Option<String>,
    network: Option<String>,
    /// The container that has the slot.
    container: Option<String>,
}

fn row(address: IpAddr, endpoint: Endpoint, slot: Option<&Slot>) -> Row {
    Row {
        address,
        ifindex: endpoint.ifindex,
        identity: endpoint.identity,
        tenant: endpoint.tenant,
        mac: Mac(endpoint.mac).to_string(),
        slot: slot.map(|slot| slot.id.to_string()),
        network: slot.map(|slot| slot.network.to_string()),
        container: slot.and_then(|slot| slot.container.clone()).map(Into::into),
    }
}

/// Lists the addresses in the maps, each with its slot.
pub(crate) fn run(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let node = node::open(directories)?;
    let mut endpoints = node::maps(directories)?.endpoints()?;
    endpoints.sort_unstable_by_key(|(address, _)| *address);
    let slots = node.slots()?;
    let addresses = slots
        .iter()
        .flat_map(|slot| slot.addresses.iter().map(move |address| (address.addr(), slot)));
    let owners: HashMap<IpAddr, &Slot> = addresses.collect();
    let rows = endpoints
        .into_iter()
        .map(|(address, endpoint)| row(address, endpoint, owners.get(&address).copied()));
    if as_json {
        return json(&rows.collect::<Vec<_>>());
    }
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    table(
        ["ADDRESS", "IFINDEX", "IDENTITY", "MAC", "SLOT", "NETWORK", "CONTAINER"],
        rows.map(|row| {
            let identity = match row.identity {
                0 => "parked".to_owned(),
                identity => identity.to_string(),
            };
            [
                row.address.to_string(),
                row.ifindex.to_string(),
                identity,
                row.mac,
                text(row.slot),
                text(row.network),
                text(row.container),
            ]
        }),
    )
}
