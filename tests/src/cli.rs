//! The operator's CLI on a node, and what it prints as JSON.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{command, dist, node::Node};

/// A pool, as `repoint pool` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Pool {
    /// Its network.
    pub network: String,
    /// The interface in the container.
    pub interface: String,
    /// The stored template that its slots are made from.
    #[serde(default)]
    pub template: Option<String>,
    /// Slots that are ready for any container.
    pub warm: u32,
    /// Slots that wait for their function.
    pub parked: u32,
    /// Slots in all states.
    pub total: u32,
    /// Slots that should be ready.
    pub target: u32,
    /// Most slots in all.
    pub max: u32,
    /// ADDs for which nothing had to be built.
    pub hits: u64,
    /// ADDs for which a slot was built.
    pub built: u64,
    /// ADDs that were served in the container's own namespace.
    pub declined: u64,
    /// Addresses that were given before they had rested, since no other was left.
    #[serde(default, rename = "cooldownYielded")]
    pub cooldown_yielded: u64,
    /// ADDs by outcome.
    pub adds: BTreeMap<String, u64>,
}

impl Pool {
    /// ADDs that came out so.
    #[must_use]
    pub fn count(&self, outcome: &str) -> u64 {
        self.adds.get(outcome).copied().unwrap_or_default()
    }
}

/// A slot, as `repoint slots` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slot {
    /// Its number.
    pub slot: String,
    /// Where it is in its life.
    pub state: String,
    /// Its network.
    pub network: String,
    /// The container that has it.
    pub container: Option<String>,
    /// The number of its function or container in the maps.
    #[serde(default)]
    pub identity: u32,
    /// Its interface on the node.
    pub host_ifname: String,
    /// Ethernet address of the container's interface.
    pub mac: String,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// Where its namespace is mounted.
    #[serde(default)]
    pub netns: Option<std::path::PathBuf>,
    /// Inode number of its namespace.
    pub netns_inode: Option<u64>,
    /// The function that it waits for, or that has it.
    #[serde(default)]
    pub function: Option<String>,
    /// The tenant of that function.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The stored template that it was made from.
    #[serde(default)]
    pub template: Option<String>,
    /// Digest of the template, stored or not.
    #[serde(default)]
    pub template_digest: Option<String>,
    /// How its user was to be served.
    #[serde(default)]
    pub mode: String,
    /// The trust domain that it belongs to; none: no container has had it.
    #[serde(default)]
    pub domain: Option<String>,
    /// What was decided about its last user.
    #[serde(default)]
    pub decision: Option<Decision>,
}

impl Slot {
    /// How its last user was served; nothing if it had none.
    #[must_use]
    pub fn served(&self) -> &str {
        self.decision.as_ref().map_or("", |decision| decision.served.as_str())
    }

    /// What its last user found in it again: the slot, and all that is its own.
    #[must_use]
    pub fn character(&self) -> (&str, &str, &[String], Option<u64>) {
        (&self.slot, &self.mac, &self.addresses, self.netns_inode)
    }
}

/// What was decided about a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Decision {
    /// How it was served.
    pub served: String,
    /// Why so.
    pub reason: String,
}

/// What `repoint replicate --json` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Replicated {
    /// The template's name.
    pub template: String,
    /// Its digest.
    pub digest: String,
    /// What the name stood for before: `new`, `changed` or `unchanged`.
    pub stored: String,
    /// Instances that were made.
    pub slots: Vec<Instance>,
}

/// A slot that was made just now, as `repoint prepare` and `repoint replicate` show it.
#[derive(Debug, Clone, Deserialize)]
pub struct Instance {
    /// Its number.
    pub slot: String,
    /// Where it is in its life.
    pub state: String,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
}

/// What `repoint activate --json` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Activated {
    /// Where the namespace is mounted.
    pub netns: std::path::PathBuf,
    /// The slot.
    pub slot: String,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// How it was served.
    pub outcome: String,
}

/// Runs the CLI on the node's folders, in the calling thread's namespaces.
pub fn repoint(node: &Node, arguments: &[&str]) -> Result<String> {
    let words = arguments.iter().map(Into::into);
    let all: Vec<_> = node.dirs().arguments().into_iter().chain(words).collect();
    command::run(&dist::cli().to_string_lossy(), all)
}

/// The same, for a command that prints JSON.
pub fn query<T: DeserializeOwned>(node: &Node, arguments: &[&str]) -> Result<T> {
    let text = repoint(node, &[arguments, &["--json"]].concat())?;
    serde_json::from_str(&text).with_context(|| format!("output of repoint {arguments:?}: {text}"))
}

/// What a command lists; nothing where there is no node yet, which the command reports.
fn listed<T: DeserializeOwned>(node: &Node, arguments: &[&str]) -> Result<Vec<T>> {
    if node.dirs().has_database() { query(node, arguments) } else { Ok(Vec::new()) }
}

/// Every pool.
pub fn pools(node: &Node) -> Result<Vec<Pool>> {
    listed(node, &["pool"])
}

/// The pool of a network's `eth0`, of slots that are made as the configuration says.
pub fn pool(node: &Node, network: &str) -> Result<Pool> {
    pool_of(node, network, None)
}

/// The pool of a network's `eth0`, of slots that are made from this stored template.
pub fn pool_of(node: &Node, network: &str, template: Option<&str>) -> Result<Pool> {
    let is_meant = |pool: &Pool| {
        pool.network == network && pool.interface == "eth0" && pool.template.as_deref() == template
    };
    let found = pools(node)?.into_iter().find(is_meant);
    found.with_context(|| format!("no pool of network {network} and template {template:?}"))
}

/// Every slot.
pub fn slots(node: &Node) -> Result<Vec<Slot>> {
    listed(node, &["slots"])
}

/// A tenant of a network, as `repoint tenants` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tenant {
    /// The network.
    pub network: String,
    /// Its name.
    pub tenant: String,
    /// Slots that are charged to it, with namespaces that live on without one.
    pub slots: u32,
    /// How many of them are such namespaces.
    pub lingering: u32,
}

/// Every tenant that has slots.
pub fn tenants(node: &Node) -> Result<Vec<Tenant>> {
    query(node, &["tenants"])
}

/// The slot that a container has.
pub fn slot_of(node: &Node, container: &str) -> Result<Slot> {
    let mut slots = slots(node)?.into_iter();
    let found = slots.find(|slot| slot.container.as_deref() == Some(container));
    found.with_context(|| format!("no slot of container {container}"))
}

/// Packets by what became of them.
pub fn counters(node: &Node) -> Result<BTreeMap<String, u64>> {
    #[derive(Deserialize)]
    struct Counter {
        reason: String,
        packets: u64,
    }
    let counters: Vec<Counter> = query(node, &["counters"])?;
    Ok(counters.into_iter().map(|counter| (counter.reason, counter.packets)).collect())
}

/// Dropped packets of a slot for a reason, as `repoint counters --slots` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Drops {
    /// The slot; none: the interface has none.
    pub slot: Option<String>,
    /// Where it is in its life.
    pub state: Option<String>,
    /// Its network.
    pub network: Option<String>,
    /// The container that has it.
    pub container: Option<String>,
    /// Why they were dropped.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// Dropped packets by slot and reason.
pub fn drops(node: &Node) -> Result<Vec<Drops>> {
    query(node, &["counters", "--slots"])
}

/// Stored templates: `repoint template`.
pub mod template {
    use std::fs;

    use anyhow::{Context as _, Result};
    use serde_json::Value;

    use super::{Node, query, repoint};

    /// The template as it goes to other nodes.
    pub fn export(node: &Node, name: &str) -> Result<String> {
        repoint(node, &["template", "export", name])
    }

    /// Stores what another node exported.
    pub fn import(node: &Node, name: &str, json: &str) -> Result<String> {
        let file = format!("/run/{name}.json");
        fs::write(&file, json).with_context(|| format!("write {file}"))?;
        repoint(node, &["template", "import", &file, "--name", name])
    }

    /// Confirms what is stored under a name.
    pub fn confirm(node: &Node, name: &str) -> Result<String> {
        repoint(node, &["template", "confirm", name, "--yes"])
    }

    /// A template as it is listed.
    pub fn listed(node: &Node, name: &str) -> Result<Value> {
        let mut listed: Vec<Value> = query(node, &["template", "list"])?;
        let found = listed.iter().position(|template| template["name"] == name);
        let found = found.with_context(|| format!("{name} is not in {listed:?}"))?;
        Ok(listed.swap_remove(found))
    }

    /// Deletes a template.
    pub fn delete(node: &Node, name: &str) -> Result<String> {
        repoint(node, &["template", "delete", name])
    }

    /// The digest by which a template is listed.
    pub fn digest(node: &Node, name: &str) -> Result<String> {
        let listed = listed(node, name)?;
        let digest = listed["digest"].as_str();
        Ok(digest.with_context(|| format!("no digest in {listed}"))?.to_owned())
    }
}
