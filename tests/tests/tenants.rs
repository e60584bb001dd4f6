//! What an ADD takes on a node that has had functions of thousands of tenants, under `isolation`.
//!
//! ```console
//! # cargo test -p repoint-tests --test tenants -- --ignored --nocapture
//! ```
//!
//! Two nodes, one of [`FEW`] tenants and one of `TENANTS` (5,000), each of [`FUNCTIONS`] functions that are
//! on record. ADDs of both take turns, in a pool without an agent. The same of two nodes of [`FEW`] tenants, one
//! without network policies and one with [`OBJECTS`] objects of [`RULES`] rules.
#![cfg(test)]

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, bench::stats::Summary, cli, dist, missing, networks::network, plugin::Network,
    pooled::user,
};
use serde_json::{Value, json};

/// Tenants of the small node, and functions of each on both.
const FEW: u32 = 10;
const FUNCTIONS: u32 = 4;
/// Policies of the node, and rules of each: 1,000 rules, of which some concern the functions that start.
const OBJECTS: u32 = 40;
const RULES: u32 = 25;
/// ADDs that are measured on each node, of functions on record and of new ones.
const ROUNDS: u32 = 200;
/// Threads that start the functions that are on record before the measurement.
const FILLERS: u32 = 4;

/// A node, its network, and how many tenants it has had.
struct Side {
    node: Node,
    network: Network,
    tenants: u32,
    known: Vec<Duration>,
    new: Vec<Duration>,
}

/// Adds a container of a function and removes it; gives the time that ADD took.
fn start(network: &Network, tenant: u32, function: &str) -> Result<Duration> {
    let args = user(&format!("tenant-{tenant}"), function);
    let name = format!("{tenant}-{function}");
    let container = Container::add_with(network, &name, |attachment| attachment.args(&args))?;
    let took = container.added_in();
    container.remove()?;
    Ok(took)
}

impl Side {
    fn new(tenants: u32) -> Result<Self> {
        let node = Node::new()?;
        let network = node.run(|| {
            network(&node, "net", 7, |configuration| {
                configuration["isolation"] = json!("tenant");
                configuration["pool"] = json!({ "warm": 4, "maxSlots": 8, "scope": "network" });
            })
        })?;
        let begun = Instant::now();
        thread::scope(|scope| {
            let fill = |first| {
                node.run(|| {
                    (first..tenants).step_by(FILLERS as usize).try_for_each(|tenant| {
                        (0..FUNCTIONS).try_for_each(|function| {
                            start(&network, tenant, &format!("function-{function}")).map(drop)
                        })
                    })
                })
            };
            let fillers: Vec<_> =
                (0..FILLERS).map(|first| scope.spawn(move || fill(first))).collect();
            fillers.into_iter().try_for_each(|it| it.join().expect("the filler panicked"))
        })?;
        println!("{tenants} tenants started in {:?}", begun.elapsed());
        Ok(Self { node, network, tenants, known: Vec::new(), new: Vec::new() })
    }

    fn measure(&mut self, round: u32) -> Result<()> {
        let (network, tenant) = (&self.network, round * 7 % self.tenants);
        let (known, new) = self.node.run(|| {
            let known = start(network, tenant, "function-0")?;
            Ok((known, start(network, tenant, &format!("new-{round}"))?))
        })?;
        self.known.push(known);
        self.new.push(new);
        Ok(())
    }

    fn print(&self) -> Result<()> {
        let (identities, endpoints) = self.node.run(|| {
            let identities: Vec<Value> = cli::query(&self.node, &["identities"])?;
            let endpoints: Vec<Value> = cli::query(&self.node, &["endpoints"])?;
            Ok((identities.len(), endpoints.len()))
        })?;
        ensure!(identities >= (self.tenants * FUNCTIONS) as usize, "{identities} identities");
        let path = self.node.dirs().run.join("state/data.mdb");
        let size =
            self.node.run(|| fs::metadata(&path).context("the database").map(|it| it.len()))?;
        let of = |times: &[Duration]| Summary::of(times).context("no ADD");
        let (known, new) = (of(&self.known)?, of(&self.new)?);
        println!(
            "{} tenants: {identities} identities, {endpoints} endpoints, database {} KiB; ADD p50 of a \
             function on record {:?}, p99 {:?}; of a new one {:?}, p99 {:?}",
            self.tenants,
            size >> 10,
            known.p50,
            known.p99,
            new.p50,
            new.p99
        );
        Ok(())
    }
}

/// Policies of which two concern each function of the tenants, and the others functions with labels that none has.
fn policies() -> String {
    let rule = |number: u32| {
        format!(
            "  - action: Deny\n    to: [{{pods: {{namespaceSelector: {{matchLabels: {{team: t{}}}}}, podSelector: \
             {{}}}}}}]\n    protocols: [{{tcp: {{destinationPort: {{number: {}}}}}}}]\n",
            number % 20,
            number + 1
        )
    };
    let object = |number: u32| {
        let rules: String = (0..RULES).map(|at| rule(number * RULES + at)).collect();
        let labels = if number < 2 { "{}".to_owned() } else { format!("{{of: l{number}}}") };
        format!(
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: \
             p{number}}}\nspec:\n  tier: Admin\n  priority: {number}\n  subject: {{pods: {{namespaceSelector: \
             {{}}, podSelector: {{matchLabels: {labels}}}}}}}\n  egress:\n{rules}---\n"
        )
    };
    (0..OBJECTS).map(object).collect()
}

#[test]
#[ignore = "a measurement, on a machine without other work"]
fn a_start_under_a_thousand_rules_costs() -> Result<()> {
    const FILE: &str = "/run/policies.yaml";
    if missing([dist::plugin(), dist::cli()]) {
        return Ok(());
    }
    let mut sides = [Side::new(FEW)?, Side::new(FEW)?];
    let with = &sides[1].node;
    with.run(|| {
        fs::write(FILE, policies()).context("write policies")?;
        let begun = Instant::now();
        cli::repoint(with, &["policy", "apply", "-f", FILE])?;
        println!("{} rules applied in {:?}", OBJECTS * RULES, begun.elapsed());
        Ok(())
    })?;
    for round in 0..ROUNDS {
        for side in &mut sides {
            side.measure(round)?;
        }
    }
    sides.iter().try_for_each(Side::print)
}

#[test]
#[ignore = "a measurement, on a machine without other work"]
fn a_start_with_thousands_of_tenants_costs() -> Result<()> {
    if missing([dist::plugin(), dist::cli()]) {
        return Ok(());
    }
    let many = env::var("TENANTS").map_or(Ok(5000), |text| text.parse())?;
    let mut sides = [Side::new(FEW)?, Side::new(many)?];
    for round in 0..ROUNDS {
        for side in &mut sides {
            side.measure(round)?;
        }
    }
    sides.iter().try_for_each(Side::print)
}
