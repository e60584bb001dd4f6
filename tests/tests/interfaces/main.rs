//! Interfaces that are not alone: guests behind them, filters of others on them, several in one
//! container.
#![cfg(test)]
#![expect(unsafe_code, reason = "a tap is attached by ioctl")]

mod guests;
mod others;
mod services;
mod several;

use anyhow::Result;
use repoint_tests::{Node, dist, missing, plugin::Network, web::BUSYBOX};
use serde_json::{Value, json};

fn skipped() -> bool {
    missing([dist::plugin(), dist::cli(), BUSYBOX.into()])
}

/// A network with both families and the default routes.
fn network(
    node: &Node,
    name: &str,
    subnet: u8,
    change: impl FnOnce(&mut Value),
) -> Result<Network> {
    let mut configuration = json!({
        "cniVersion": "1.1.0", "name": name, "type": "repoint-cni", "ipMasq": true,
        "ipam": {
            "ranges": [
                [{ "subnet": format!("10.217.{subnet}.0/24") }],
                [{ "subnet": format!("fd00:217:{subnet}::/64") }],
            ],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        },
    });
    change(&mut configuration);
    node.dirs().patch(&mut configuration);
    Network::new(&configuration, dist::cni_path())
}

/// Whether a network has a pool, for tests of both.
const POOLED: [bool; 2] = [false, true];

fn pool(configuration: &mut Value, pooled: bool) {
    if pooled {
        configuration["pool"] = json!({ "warm": 1, "maxSlots": 8 });
    }
}
