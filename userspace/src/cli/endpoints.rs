//! `repoint endpoints`.

use std::net::IpAddr;

use repoint::{conf::Directories, datapath::Maps, types::Mac};
use repoint_common::endpoint::Endpoint;
use serde::Serialize;

use crate::output::{CommandError, json, table};

/// An endpoint as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    address: IpAddr,
    ifindex: u32,
    identity: u32,
    mac: String,
}

impl From<(IpAddr, Endpoint)> for Row {
    fn from((address, endpoint): (IpAddr, Endpoint)) -> Self {
        Self {
            address,
            ifindex: endpoint.ifindex,
            identity: endpoint.identity,
            mac: Mac(endpoint.mac).to_string(),
        }
    }
}

/// Lists the addresses in the maps.
pub(crate) fn run(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let mut endpoints = match Maps::open_existing(&directories.bpf)? {
        Some(maps) => maps.endpoints()?,
        None => Vec::new(),
    };
    endpoints.sort_unstable_by_key(|(address, _)| *address);
    let rows = endpoints.into_iter().map(Row::from);
    if as_json {
        return json(&rows.collect::<Vec<_>>());
    }
    table(
        ["ADDRESS", "IFINDEX", "IDENTITY", "MAC"],
        rows.map(|row| {
            let identity = match row.identity {
                0 => "parked".to_owned(),
                identity => identity.to_string(),
            };
            [row.address.to_string(), row.ifindex.to_string(), identity, row.mac]
        }),
    )
}
