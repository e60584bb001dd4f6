//! Networks of both families, with a pool and without one.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{Node, dist, plugin::Network};

/// A network with both families and the default routes.
pub fn network(
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
pub const POOLED: [bool; 2] = [false, true];

/// Gives the network a pool if `pooled`.
pub fn pool(configuration: &mut Value, pooled: bool) {
    if pooled {
        configuration["pool"] = json!({ "warm": 1, "maxSlots": 8 });
    }
}
