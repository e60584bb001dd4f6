//! The networks that the containers are in.

use anyhow::Result;
use repoint_tests::{Node, dist, plugin::Network};
use serde_json::{Value, json};

/// A network.
#[derive(Debug)]
pub struct Kind {
    /// The network.
    pub network: Network,
    /// Its configuration.
    pub configuration: Value,
    /// Whether containers say whose function they are.
    pub is_shared: bool,
}

impl Kind {
    fn new(node: &Node, name: &str, special: &Value) -> Result<Self> {
        let mut configuration =
            json!({ "cniVersion": "1.1.0", "name": name, "type": "repoint-cni" });
        node.dirs().patch(&mut configuration);
        for (key, value) in special.as_object().into_iter().flatten() {
            configuration[key] = value.clone();
        }
        let network = Network::new(&configuration, dist::cni_path())?;
        Ok(Self { network, configuration, is_shared: false })
    }

    /// Whether its version has the verb.
    pub fn has_gc(&self) -> bool {
        self.configuration["cniVersion"] == "1.1.0"
    }

    /// Whether another plugin gives its addresses.
    pub fn is_delegated(&self) -> bool {
        self.configuration["ipam"].get("type").is_some()
    }

    /// Whether it has a pool.
    pub fn has_pool(&self) -> bool {
        self.configuration.get("pool").is_some()
    }
}

/// One without a pool, one with a pool for both families, one whose slots belong to functions and
/// tenants, and one whose addresses another plugin gives.
pub fn all(node: &Node) -> Result<Vec<Kind>> {
    let default = json!({ "dst": "0.0.0.0/0" });
    let ordinary = Kind::new(
        node,
        "ordinary",
        &json!({ "ipam": { "ranges": [[{ "subnet": "10.210.0.0/24" }]], "routes": [default] } }),
    )?;
    let pooled = Kind::new(
        node,
        "pooled",
        &json!({
            "ipMasq": true,
            "pool": { "warm": 6, "maxSlots": 24 },
            "ipam": {
                "ranges": [[{ "subnet": "10.211.0.0/24" }], [{ "subnet": "fd00:211::/64" }]],
                "routes": [default, { "dst": "::/0" }],
            },
        }),
    )?;
    let shared = Kind::new(
        node,
        "shared",
        &json!({
            "pool": { "warm": 3, "maxSlots": 16, "scope": "tenant" },
            "ipam": { "ranges": [[{ "subnet": "10.212.0.0/24" }]], "routes": [default] },
        }),
    )?;
    let delegated = Kind::new(
        node,
        "delegated",
        &json!({
            // The newest that Debian's host-local knows: it has no GC.
            "cniVersion": "1.0.0",
            "ipMasq": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": "10.213.0.0/24" }]],
                "routes": [default],
            },
        }),
    )?;
    Ok(vec![ordinary, pooled, Kind { is_shared: true, ..shared }, delegated])
}
