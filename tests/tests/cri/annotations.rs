//! Annotations of pods, on their way from a pod's author through containerd to the plugin; and the
//! error that the author gets when they are refused.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Agent, Node, Snapshot,
    cli::{self, Slot},
    example,
    pooled::SOON,
    wait,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    LIMIT, ask, ask_everywhere,
    client::{Client, Pod},
    on_containerd, skipped,
};

const NETWORK: &str = "functions";
/// The namespace of the pods, which is their tenant.
const TENANT: &str = "team-a";
const MODE: &str = "repoint.dev/mode";
const FUNCTION: &str = "repoint.dev/function";
const RESIZE: (&str, &str) = (FUNCTION, "resize");

/// A node with containerd, a pool that keeps some slots ready, and an agent.
fn with_pods(test: impl FnOnce(&mut Pods<'_>) -> Result<()> + Send) -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let mut network: Value = example("pool.conflist")?;
    network["plugins"][0]["pool"] = json!({
        "warm": 4, "maxSlots": 32, "scope": "tenant", "templates": ["nowhere"],
    });
    network["name"] = json!(NETWORK);
    let list = network.clone();
    on_containerd(network, |node, runtime, client| {
        let before = Snapshot::take(node.dirs())?;
        set_pool(node, list)?;
        let agent = Agent::start(node)?;
        test(&mut Pods { node, runtime, client })?;
        agent.stop()?;
        cli::repoint(node, &["unload"])?;
        before.wait_until_restored(node.dirs())
    })
}

/// Puts the pool on record, so that it is filled before the first pod.
fn set_pool(node: &Node, mut list: Value) -> Result<()> {
    let file = "/run/pool.conflist";
    node.dirs().patch(&mut list["plugins"][0]);
    std::fs::write(file, list.to_string()).with_context(|| format!("write {file}"))?;
    cli::repoint(node, &["pool", "set", NETWORK, "--config", file]).map(drop)
}

/// What starts and stops pods.
struct Pods<'a> {
    node: &'a Node,
    runtime: &'a Runtime,
    client: Client,
}

impl Pods<'_> {
    /// Starts a pod with a server in it.
    fn start(&mut self, name: &str, annotations: &[(&str, &str)]) -> Result<(Pod, Slot)> {
        let sandbox =
            self.runtime.block_on(self.client.run_annotated(name, TENANT, annotations))?;
        let pod = self.runtime.block_on(self.client.start_server(name, sandbox))?;
        wait::until(LIMIT, "a pod's server answers itself", || {
            let own = std::net::Ipv4Addr::LOCALHOST.into();
            self.runtime.block_on(ask(&mut self.client, &pod, &pod, own))
        })?;
        let slot = cli::slot_of(self.node, &pod.sandbox)?;
        println!("{name}: slot {} ({}), {:?}", slot.slot, slot.state, slot.decision);
        ensure!(slot.tenant.as_deref() == Some(TENANT), "{slot:?}");
        ensure!(has(&slot, &pod.addresses), "{slot:?} is not of {:?}", pod.addresses);
        Ok((pod, slot))
    }

    /// Two pods ask each other at every address.
    fn talk(&mut self, one: &Pod, other: &Pod) -> Result<()> {
        self.runtime.block_on(ask_everywhere(&mut self.client, one, other))?;
        self.runtime.block_on(ask_everywhere(&mut self.client, other, one))
    }

    /// Stops a pod, and waits until its slot is in one of these states.
    fn stop(&mut self, pod: &Pod, slot: &Slot, states: &[&str]) -> Result<()> {
        self.runtime.block_on(self.client.stop(pod))?;
        self.runtime.block_on(self.client.remove(pod))?;
        wait::until(SOON, &format!("slot {} is {states:?}", slot.slot), || {
            let found = cli::slots(self.node)?.into_iter().find(|found| found.slot == slot.slot);
            let state = found.map_or_else(|| "gone".to_owned(), |found| found.state);
            ensure!(states.contains(&state.as_str()), "it is {state}");
            Ok(())
        })
    }

    /// The slots that wait for a function.
    fn waiting(&self, function: &str) -> Result<Vec<String>> {
        let waits =
            |slot: &Slot| slot.state == "parked" && slot.function.as_deref() == Some(function);
        Ok(cli::slots(self.node)?.into_iter().filter(waits).map(|slot| slot.slot).collect())
    }

    /// Waits until nothing is on its way.
    fn settle(&self) -> Result<()> {
        wait::until(SOON, "the pool is full", || {
            let pool = cli::pool(self.node, NETWORK)?;
            ensure!(pool.warm >= pool.target && pool.warm + pool.parked == pool.total, "{pool:?}");
            Ok(())
        })
    }
}

fn has(slot: &Slot, addresses: &[IpAddr]) -> bool {
    addresses.len() == 2
        && addresses.iter().all(|address| {
            let prefix = format!("{address}/");
            slot.addresses.iter().any(|own| own.starts_with(&prefix))
        })
}

#[test]
fn annotations_say_how_a_pod_is_served() -> Result<()> {
    with_pods(|pods| {
        pods.settle()?;
        let (first, slot) = pods.start("first", &[(MODE, "reuse"), RESIZE])?;
        ensure!(slot.served() == "replicated", "{slot:?}");
        pods.stop(&first, &slot, &["parked"])?;
        let (again, found) = pods.start("again", &[(MODE, "reuse"), RESIZE])?;
        ensure!(found.character() == slot.character(), "{found:?} is not {slot:?}");
        ensure!(found.served() == "reused", "{found:?}");
        ensure!(again.addresses == first.addresses, "{:?}", again.addresses);
        let (new, replicated) = pods.start("new", &[(MODE, "replicate"), RESIZE])?;
        ensure!(replicated.served() == "replicated" && replicated.slot != slot.slot);
        let (own, cold) = pods.start("own", &[(MODE, "none"), RESIZE])?;
        ensure!(cold.served() == "none" && cold.mode == "none", "{cold:?}");
        for (one, other) in [(&again, &new), (&again, &own), (&new, &own)] {
            pods.talk(one, other)?;
        }
        pods.stop(&new, &replicated, &["gone"])?;
        ensure!(pods.waiting("resize")?.is_empty(), "{:?} wait", pods.waiting("resize")?);
        pods.stop(&own, &cold, &["gone"])?;
        pods.stop(&again, &found, &["parked"])?;
        ensure!(pods.waiting("resize")? == [slot.slot], "{:?} wait", pods.waiting("resize")?);
        Ok(())
    })
}

/// Annotations, and what is said of them.
type Refused = (&'static [(&'static str, &'static str)], &'static [&'static str]);

/// Annotations that a pod cannot have in this network, and what the error must name.
const REFUSED: [Refused; 9] = [
    (&[(MODE, "recycle")], &[MODE, "recycle", "reuse", "replicate", "none"]),
    (&[(MODE, " ")], &[MODE, "reuse", "replicate", "none"]),
    (
        &[("repoint.dev/scope", "network"), RESIZE],
        &["repoint.dev/scope=network", "functions", "scope tenant"],
    ),
    (&[("repoint.dev/scope", "cluster")], &["repoint.dev/scope", "cluster", "function", "tenant"]),
    (&[("repoint.dev/scop", "function")], &["repoint.dev/scop", "mode, function, tenant"]),
    (&[("repoint.dev/tenant", "team-b")], &["repoint.dev/tenant=team-b", "not allowed"]),
    (&[("repoint.dev/template", "nowhere")], &["template nowhere", "repoint template import"]),
    (&[("repoint.dev/template", "others")], &["repoint.dev/template=others", "pool.templates"]),
    (&[("repoint.dev/idle-ttl", "1d")], &["repoint.dev/idle-ttl", "idleTTL 10m"]),
];

#[test]
fn annotations_that_cannot_be_fail_the_pod_and_leave_nothing() -> Result<()> {
    with_pods(|pods| {
        pods.settle()?;
        let before = Snapshot::take(pods.node.dirs())?;
        for (number, (annotations, parts)) in REFUSED.iter().enumerate() {
            let name = format!("pod-{number}");
            let start = pods.client.run_annotated(&name, TENANT, annotations);
            let refusal = pods.runtime.block_on(start).err();
            let refusal = refusal.with_context(|| format!("started with {annotations:?}"))?;
            let said = format!("{refusal:#}");
            println!("{annotations:?}: {said}");
            for part in *parts {
                ensure!(said.contains(part), "{part:?} is not in {said}");
            }
            let left = pods.runtime.block_on(pods.client.sandboxes())?;
            ensure!(left.is_empty(), "sandboxes are left of {annotations:?}: {left:?}");
            before
                .wait_until_restored(pods.node.dirs())
                .with_context(|| format!("after {annotations:?}"))?;
        }
        // What is nobody's is no error, and neither is what is so anyway.
        let own = [("repoint.dev/tenant", TENANT), ("example.org/mode", "recycle"), RESIZE];
        let (pod, slot) = pods.start("good", &own)?;
        pods.stop(&pod, &slot, &["parked"])
    })
}
