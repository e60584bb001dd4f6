//! Chaos: containers come and go on a node with several networks, while plugins, sweeps and the agent
//! are killed at any of their steps. Nobody ever shares anything, and nothing is left.
#![cfg(test)]

mod disturb;
mod killer;
mod ledger;
mod networks;
mod worker;

use std::{
    env, fs, panic,
    path::Path,
    sync::{
        atomic::AtomicUsize,
        mpsc::{self, Receiver},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use killer::Killer;
use ledger::{Belongings, Ledger};
use networks::Kind;
use repoint_tests::{Node, Snapshot, cli, dist, dist::REFERENCE_PLUGINS, missing, plugin::Outcome};
use worker::{Started, Worker};

/// Threads of the runtime.
const THREADS: usize = 8;
/// For how long, seconds, unless `REPOINT_CHAOS_SECONDS` says otherwise.
const SECONDS: u64 = 120;
/// After so many findings it is enough.
const ENOUGH: usize = 20;

/// What all threads share.
pub struct Field<'a> {
    node: &'a Node,
    kinds: &'a [Kind],
    ledger: Ledger,
    killer: Killer,
    /// Containers that each thread has named.
    named: [AtomicUsize; THREADS],
}

impl Field<'_> {
    /// Whether so much has gone wrong that it is enough.
    fn is_over(&self) -> bool {
        self.ledger.findings().len() >= ENOUGH
    }

    /// What the maps and the record say of a container, for who looks into a finding.
    fn describe(&self, belongings: &Belongings) -> String {
        let is_meant = |line: &&str| {
            line.contains(&belongings.host_ifname)
                || belongings.addresses.iter().any(|address| line.contains(&address.to_string()))
        };
        let reported = ["endpoints", "slots"].map(|list| cli::repoint(self.node, &[list]));
        let lines = reported.iter().flatten().flat_map(|text| text.lines());
        lines.filter(is_meant).collect::<Vec<_>>().join("; ")
    }

    /// A call failed that was not killed.
    fn failed(&self, whose: &str, outcome: &Outcome) {
        let said = format!("{} {}", outcome.stdout.trim(), outcome.stderr.trim());
        self.ledger.find(format!("{whose}: {} failed: {said}", outcome.call()));
    }
}

fn setting(name: &str, default: u64) -> Result<u64> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

#[test]
fn whatever_is_killed_nothing_is_shared_and_nothing_is_left() -> Result<()> {
    let host_local = Path::new(REFERENCE_PLUGINS).join("host-local");
    if missing([dist::plugin(), dist::cli(), dist::agent(), host_local]) {
        return Ok(());
    }
    let seconds = setting("REPOINT_CHAOS_SECONDS", SECONDS)?;
    let seed = setting("REPOINT_CHAOS_SEED", fastrand::u64(..))?;
    println!("REPOINT_CHAOS_SEED={seed}");
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let kinds = networks::all(&node)?;
        for kind in kinds.iter().filter(|kind| kind.has_pool()) {
            let (name, file) = (kind.network.name(), "/run/network.json");
            fs::write(file, kind.configuration.to_string()).context("write a configuration")?;
            cli::repoint(&node, &["pool", "set", name, "--config", file])?;
        }
        let field = Field {
            node: &node,
            kinds: &kinds,
            ledger: Ledger::default(),
            killer: Killer::default(),
            named: Default::default(),
        };
        let left = play(&field, seed, Duration::from_secs(seconds))?;
        let leaks = end(&field, left, &before);
        describe(&field, seconds, seed, &leaks)
    })
}

/// Lets everybody loose; gives the containers that are left then.
fn play<'a>(field: &'a Field<'a>, seed: u64, time: Duration) -> Result<Vec<Started<'a>>> {
    let mut rng = Rng::with_seed(seed);
    let deadline = Instant::now() + time;
    thread::scope(|scope| {
        let mut over = Vec::new();
        let mut disturber = |work: fn(&Field<'_>, Rng, &Receiver<()>) -> Result<()>| {
            let (sender, receiver) = mpsc::channel();
            over.push(sender);
            let rng = rng.fork();
            scope.spawn(move || work(field, rng, &receiver))
        };
        let disturbers = [
            disturber(disturb::agents),
            disturber(disturb::operator),
            disturber(disturb::operator),
        ];
        let workers: Vec<_> = (0..THREADS)
            .map(|number| Worker::new(field, number, rng.fork()))
            .map(|worker| scope.spawn(move || worker.run(deadline)))
            .collect();
        let ended: Vec<_> = workers.into_iter().map(joined).collect();
        drop(over);
        disturbers.into_iter().try_for_each(joined)?;
        Ok(ended.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// DEL of all, one sweep, no pools any more, and unload: what is left then.
fn end(field: &Field<'_>, left: Vec<Started<'_>>, before: &Snapshot) -> Vec<String> {
    let mut leaks = Vec::new();
    let mut note = |done: Result<()>| leaks.extend(done.err().map(|error| format!("{error:#}")));
    for started in left {
        note(started.end());
    }
    note(swept(field.node));
    note(unused(field.node));
    for kind in field.kinds.iter().filter(|kind| kind.has_pool()) {
        note(cli::repoint(field.node, &["pool", "remove", kind.network.name()]).map(drop));
    }
    note(nothing_on_record(field.node));
    note(cli::repoint(field.node, &["unload"]).map(drop));
    note(before.wait_until_restored(field.node.dirs()));
    leaks
}

/// One sweep, of a node on which no runtime is at work; nothing is stale then.
fn swept(node: &Node) -> Result<()> {
    println!("{}", cli::repoint(node, &["sweep", "--grace", "0s"])?.trim_end());
    let said = cli::repoint(node, &["sweep", "--dry-run", "--grace", "0s"])?;
    ensure!(said.trim() == "nothing is stale", "after a sweep: {said}");
    Ok(())
}

/// All slots wait, and nobody has one.
fn unused(node: &Node) -> Result<()> {
    let waits = |slot: &cli::Slot| ["warm", "parked"].contains(&slot.state.as_str());
    let slots = cli::slots(node)?;
    let used = slots.iter().find(|slot| slot.container.is_some() || !waits(slot));
    used.map_or(Ok(()), |slot| bail!("{slot:?} is left"))
}

fn nothing_on_record(node: &Node) -> Result<()> {
    let slots = cli::slots(node)?;
    ensure!(slots.is_empty(), "{} slots are left, the first is {:?}", slots.len(), slots.first());
    Ok(())
}

/// Prints what was done, and fails if anything was not as it should be.
fn describe(field: &Field<'_>, seconds: u64, seed: u64, leaks: &[String]) -> Result<()> {
    let calls = field.ledger.calls();
    let verbs: Vec<_> = calls
        .iter()
        .map(|(verb, calls)| format!("{} {verb} ({} killed)", calls.made, calls.killed))
        .collect();
    for warning in disturb::warnings() {
        println!("  an agent warned: {warning}");
    }
    println!(
        "chaos: {seconds} s, {}; {} double owners, {} leaks",
        verbs.join(", "),
        field.ledger.double_owners(),
        leaks.len()
    );
    let history = field.ledger.history();
    let again =
        history.ensure_one_domain_each().with_context(|| format!("REPOINT_CHAOS_SEED={seed}"))?;
    println!("chaos: {} namespaces, used again {again:?}", history.len());
    let findings = field.ledger.findings();
    ensure!(
        findings.is_empty() && leaks.is_empty(),
        "REPOINT_CHAOS_SEED={seed}:\n{}\nleft:\n{}",
        findings.join("\n"),
        leaks.join("\n")
    );
    Ok(())
}
