//! Many instances of a template in one call.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    contestant::Contestant,
    fence::{Pace, until_namespaces_are_gone},
    pool::Pool,
    stats::Summary,
};
use crate::{
    Node,
    cli::{Activated, Replicated, query, repoint},
    dist,
    traffic::{self, Host},
};

/// Instances made in one call.
pub const SIZES: [u32; 2] = [100, 1000];
/// Calls of each size.
pub const ROUNDS: usize = 3;
/// The template.
const TEMPLATE: &str = "replicated";
/// The function that gets the first of them.
const FUNCTION: &str = "first";

/// Instances of a template.
#[derive(Debug, Clone, Serialize)]
pub struct Replication {
    /// How many in one call.
    pub size: u32,
    /// The configuration of their network.
    pub configuration: Value,
    /// The call: the CLI's whole process, REPLICATE of a configuration with instances.
    pub call: Summary,
    /// Right after it: activating one, by the CLI, up to an answer from it over UDP to the first
    /// datagram that is sent to it.
    pub first_answer: Summary,
}

impl Replication {
    /// Milliseconds of the call for each instance.
    #[must_use]
    pub fn each(&self) -> f64 {
        self.call.p50.as_secs_f64() * 1e3 / f64::from(self.size)
    }
}

/// Makes instances, on a node of their own.
pub(super) fn run(warm: &Contestant, pace: &mut Pace) -> Result<Vec<Replication>> {
    let node = Node::new()?;
    let contestant = of_many(warm);
    let pool = Pool::of(&contestant, &node).context("a network without a pool")?;
    let configuration = contestant.configuration.clone().unwrap_or_default();
    node.run(|| {
        pool.record()?;
        // What the first use of a node makes is no instance's.
        round(&node, &pool, 1)?;
        SIZES.map(|size| sized(&node, &pool, size, &configuration, pace)).into_iter().collect()
    })
}

/// The contestant with addresses of both families, and room for all.
fn of_many(contestant: &Contestant) -> Contestant {
    let mut contestant = contestant.clone();
    if let Some(configuration) = &mut contestant.configuration {
        configuration["pool"] = json!({ "warm": 0, "maxSlots": 4000 });
        configuration["ipam"] = json!({
            "ranges": [[{ "subnet": "10.213.0.0/16" }], [{ "subnet": "2001:db8:213::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]
        });
    }
    contestant
}

fn sized(
    node: &Node,
    pool: &Pool<'_>,
    size: u32,
    configuration: &Value,
    pace: &mut Pace,
) -> Result<Replication> {
    eprintln!("replication: {ROUNDS} times {size} instances");
    let (mut calls, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        until_namespaces_are_gone()?;
        pace.settle()?;
        let (call, answer) = round(node, pool, size)?;
        calls.push(call);
        answers.push(answer);
    }
    let summary = |times: &[Duration]| Summary::of(times).context("no round was measured");
    let configuration = configuration.clone();
    Ok(Replication {
        size,
        configuration,
        call: summary(&calls)?,
        first_answer: summary(&answers)?,
    })
}

/// Makes instances, asks the first, and deletes all.
fn round(node: &Node, pool: &Pool<'_>, size: u32) -> Result<(Duration, Duration)> {
    let count = size.to_string();
    let mut replicate = Command::new(dist::cli());
    let arguments =
        ["replicate", TEMPLATE, "--network", pool.network(), "--count", &count, "--json"];
    replicate.args(node.dirs().arguments()).args(arguments);
    let start = Instant::now();
    let output = replicate.output().with_context(|| format!("run {replicate:?}"))?;
    let call = start.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{replicate:?}: {}: {}", output.status, said.trim());
    let made: Replicated = serde_json::from_slice(&output.stdout).context("what it status")?;
    ensure!(made.slots.len() == size as usize, "{} instances, not {size}", made.slots.len());
    let answer = first_answer(node)?;
    repoint(node, &["park", FUNCTION])?;
    pool.drain_template(TEMPLATE)?;
    Ok((call, answer))
}

/// The time from now until an instance has answered.
fn first_answer(node: &Node) -> Result<Duration> {
    let client = Host::here("node")?;
    let start = Instant::now();
    let arguments = ["activate", "--function", FUNCTION, "--template", TEMPLATE, "--prepared-only"];
    let given: Activated = query(node, &arguments)?;
    let server = Host::at(FUNCTION, &given.netns)?;
    let address = given.addresses.first().context("no address")?;
    let (address, _) = address.split_once('/').context("no prefix")?;
    traffic::first_datagram(&client, &server, address.parse()?)?;
    Ok(start.elapsed())
}
