//! A node with a network that has a pool: what the suites of reuse start from, and how they end.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    Agent, Container, Netns, Node, Snapshot,
    cli::{self, Pool, Slot, repoint},
    dist, missing,
    node::Uplink,
    plugin::{Attachment, CniError, Network, Outcome},
    wait,
    web::BUSYBOX,
};

/// Name of the network.
pub const NAME: &str = "functions";
/// The capability by which runtimes pass a pod's annotations.
pub const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
/// Tenant of the functions where a test names none.
pub const TENANT: &str = "acme";
/// Where its configuration is, for the CLI.
const CONFIGURATION: &str = "/run/functions.json";
/// How long the agent may take to do what is due.
pub const SOON: Duration = Duration::from_secs(15);

/// A node with a network that has a pool.
#[derive(Debug)]
pub struct Pooled<'a> {
    node: &'a Node,
    network: Network,
    configuration: Value,
    containers: AtomicU32,
}

/// Makes a node and a network with this pool, and runs `test`. The test runs in the node's namespaces.
/// Afterwards `repoint unload` must leave nothing. It refuses while there is a container or an agent:
/// `test` ends those that it started.
pub fn with_pool(pool: &Value, test: impl FnOnce(&Pooled<'_>) -> Result<()> + Send) -> Result<()> {
    with_network(Uplink::FIRST, |configuration| configuration["pool"] = pool.clone(), test)
}

/// The same on a node with this uplink, with the network's configuration changed.
pub fn with_network(
    uplink: Uplink,
    change: impl FnOnce(&mut Value),
    test: impl FnOnce(&Pooled<'_>) -> Result<()> + Send,
) -> Result<()> {
    if missing([dist::plugin(), dist::cli(), dist::agent(), BUSYBOX.into()]) {
        return Ok(());
    }
    let node = Node::with(uplink)?;
    let mut configuration = configuration(&node);
    change(&mut configuration);
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let pooled = Pooled::new(&node, configuration)?;
        test(&pooled)?;
        pooled.unload()?;
        before.wait_until_restored(node.dirs())
    })
}

/// `CNI_ARGS` of a tenant's function.
#[must_use]
pub fn user(tenant: &str, function: &str) -> String {
    format!("repoint.dev/tenant={tenant};repoint.dev/function={function}")
}

/// The network's configuration: both families, masqueraded.
fn configuration(node: &Node) -> Value {
    let mut configuration = json!({
        "cniVersion": "1.1.0", "name": NAME, "type": "repoint-cni", "ipMasq": true,
        "capabilities": { "ips": true, "mac": true, ANNOTATIONS: true },
        "ipam": {
            "ranges": [[{ "subnet": "10.217.9.0/24" }], [{ "subnet": "fd00:217:9::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        },
    });
    node.dirs().patch(&mut configuration);
    configuration
}

impl<'a> Pooled<'a> {
    fn new(node: &'a Node, configuration: Value) -> Result<Self> {
        fs::write(CONFIGURATION, configuration.to_string())
            .with_context(|| format!("write {CONFIGURATION}"))?;
        let network = Network::new(&configuration, dist::cni_path())?;
        let pooled = Self { node, network, configuration, containers: AtomicU32::new(0) };
        pooled.repoint(&["pool", "set", NAME, "--config", CONFIGURATION])?;
        Ok(pooled)
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network with its configuration changed. What slots are built from must stay the same.
    pub fn network_with(&self, change: impl FnOnce(&mut Value)) -> Result<Network> {
        let mut configuration = self.configuration.clone();
        change(&mut configuration);
        Network::new(&configuration, dist::cni_path())
    }

    /// The same, with the configuration in a file for the CLI, too.
    pub fn reconfigured(&self, change: impl FnOnce(&mut Value)) -> Result<(String, Network)> {
        let mut configuration = self.configuration.clone();
        change(&mut configuration);
        let file = format!("/run/{}.json", self.name());
        fs::write(&file, configuration.to_string()).with_context(|| format!("write {file}"))?;
        Ok((file, Network::new(&configuration, dist::cni_path())?))
    }

    /// The network with its plugins elsewhere: `CNI_PATH`.
    pub fn network_at(&self, path: &str) -> Result<Network> {
        Network::new(&self.configuration, path)
    }

    /// Runs the CLI.
    pub fn repoint(&self, arguments: &[&str]) -> Result<String> {
        repoint(self.node, arguments)
    }

    /// Builds the slots that should be ready, without an agent.
    pub fn fill(&self) -> Result<()> {
        self.repoint(&["pool", "fill", NAME]).map(drop)
    }

    /// Starts an agent, and waits until the pool is full.
    pub fn agent(&self) -> Result<Agent> {
        let agent = Agent::start(self.node)?;
        self.wait_until("the pool is full", |pool| pool.warm >= pool.target)?;
        Ok(agent)
    }

    /// Likewise, with an agent that sweeps so long after each sweep.
    pub fn agent_sweeping(&self, interval: Duration) -> Result<Agent> {
        let agent = Agent::start_sweeping(self.node, interval)?;
        self.wait_until("the pool is full", |pool| pool.warm >= pool.target)?;
        Ok(agent)
    }

    /// The pool as it is now.
    pub fn pool(&self) -> Result<Pool> {
        cli::pool(self.node, NAME)
    }

    /// Waits for the pool.
    pub fn wait_until(&self, what: &str, holds: impl Fn(&Pool) -> bool) -> Result<Pool> {
        wait::until(SOON, what, || {
            let pool = self.pool()?;
            ensure!(holds(&pool), "{pool:?}");
            Ok(pool)
        })
    }

    /// The slots.
    pub fn slots(&self) -> Result<Vec<Slot>> {
        cli::slots(self.node)
    }

    /// The slot of this number, if there still is one.
    pub fn slot(&self, number: &str) -> Result<Option<Slot>> {
        Ok(self.slots()?.into_iter().find(|slot| slot.slot == number))
    }

    /// Waits until a slot is in one of these states; "gone" is one.
    pub fn wait_for_slot(&self, number: &str, states: &[&str]) -> Result<String> {
        wait::until(SOON, &format!("slot {number} is {states:?}"), || {
            let found = self.slot(number)?;
            let state = found.map_or_else(|| "gone".to_owned(), |slot| slot.state);
            ensure!(states.contains(&state.as_str()), "it is {state}");
            Ok(state)
        })
    }

    /// ADDs a container without function and tenant. Unless the network's scope is `network`, no other
    /// container ever gets its slot.
    pub fn add(&self) -> Result<Container<'_>> {
        self.add_with(|attachment| attachment)
    }

    /// ADDs a container for a function of [`TENANT`].
    pub fn add_function(&self, function: &str) -> Result<Container<'_>> {
        self.add_tenants(TENANT, function)
    }

    /// ADDs a pod with these annotations, in the namespace [`TENANT`], as a runtime passes them on.
    pub fn add_annotated(&self, annotations: &Value) -> Result<Container<'_>> {
        let pod = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={TENANT};K8S_POD_NAME=pod");
        self.add_with(|own| own.args(&pod).capability(ANNOTATIONS, annotations.clone()))
    }

    /// One call of the plugin that must fail before it attaches anything: nothing may be left of it.
    pub fn refused(
        &self,
        verb: &str,
        ask: impl FnOnce(Attachment) -> Attachment,
    ) -> Result<CniError> {
        let name = self.name();
        let netns = Netns::create(&name)?;
        let attachment = ask(Attachment::new(&name, netns.path()));
        let before = Snapshot::take(self.node.dirs())?;
        let error = self.network.call_single(verb, &attachment, None)?.error()?;
        println!("{verb}: code {}: {} {}", error.code, error.msg, error.details);
        let difference = before.difference(&Snapshot::take(self.node.dirs())?);
        ensure!(difference.is_empty(), "after {verb}, which failed:\n{difference}");
        // As runtimes do after an ADD that failed.
        self.network.del(&attachment, None)?;
        netns.remove()?;
        Ok(error)
    }

    /// PREPARE or REPLICATE of the network, about no container, with these `CNI_ARGS`.
    pub fn operate(&self, verb: &str, args: &str) -> Result<Outcome> {
        let nobody = Attachment::new("", Path::new("")).args(args);
        self.network.call_single(verb, &nobody, None)
    }

    /// ADDs a container for a tenant's function.
    pub fn add_tenants(&self, tenant: &str, function: &str) -> Result<Container<'_>> {
        self.add_with(|attachment| attachment.args(&user(tenant, function)))
    }

    /// ADDs a container, with more asked for.
    pub fn add_with(&self, ask: impl FnOnce(Attachment) -> Attachment) -> Result<Container<'_>> {
        let name = self.name();
        Container::add_with(&self.network, &name, ask)
    }

    /// A name that no container had yet.
    pub fn name(&self) -> String {
        format!("c{}", self.containers.fetch_add(1, Ordering::Relaxed))
    }

    /// The slot that a container has.
    pub fn slot_of(&self, container: &Container<'_>) -> Result<Slot> {
        cli::slot_of(self.node, &container.attachment().container_id)
    }

    /// Fails unless the ADDs by outcome are exactly those of `expected`.
    pub fn ensure_adds(&self, expected: &[(&str, u64)]) -> Result<()> {
        let found = self.pool()?.adds;
        let found: Vec<(&str, u64)> =
            found.iter().map(|(outcome, count)| (outcome.as_str(), *count)).collect();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        ensure!(found == expected, "ADDs came out {found:?}, not {expected:?}");
        Ok(())
    }

    /// Takes everything of repoint off the node, which must be without containers and agent. A test may
    /// have unloaded it, or lost its database.
    fn unload(&self) -> Result<()> {
        let dirs = self.node.dirs();
        let slots = if dirs.run.join("state").exists() { self.slots()? } else { Vec::new() };
        let used: Vec<_> = slots.iter().filter(|slot| slot.container.is_some()).collect();
        ensure!(used.is_empty(), "containers are left: {used:?}");
        if dirs.run.exists() || dirs.bpf.exists() {
            self.repoint(&["unload", "--force"])?;
        }
        for dir in [&dirs.run, &dirs.bpf] {
            ensure!(!dir.exists(), "{} is left by unload", dir.display());
        }
        Ok(())
    }
}
