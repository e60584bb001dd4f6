//! The operator's CLI: what `load` makes, `unload` takes away, and `slots` shows.
#![cfg(test)]

use std::{
    panic,
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, Snapshot, cli::repoint, dist, example, missing, pins, plugin::Network, traffic,
};
use serde_json::Value;

fn skipped() -> bool {
    missing([dist::plugin(), dist::cli()])
}

fn network(node: &Node) -> Result<Network> {
    let mut configuration = example("functions.conflist")?;
    node.dirs().patch(&mut configuration["plugins"][0]);
    Network::new(&configuration, dist::cni_path())
}

/// That nothing of the plugin is on the node, not even an empty folder.
fn ensure_bare(node: &Node) -> Result<()> {
    let dirs = node.dirs();
    for dir in [&dirs.run, &dirs.bpf] {
        ensure!(!dir.exists(), "{} is left", dir.display());
    }
    Ok(())
}

#[test]
fn unload_leaves_nothing_of_load() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        for _ in 0..2 {
            print!("{}", repoint(&node, &["load"])?);
        }
        let maps = pins::maps(&node.dirs().bpf)?;
        for name in ["endpoints_v4", "endpoints_v6", "interfaces", "counters"] {
            ensure!(maps.iter().any(|map| map.pin().ends_with(name)), "{name} is not pinned");
        }
        repoint(&node, &["unload"])?;
        ensure_bare(&node)?;
        before.wait_until_restored(node.dirs())
    })
}

#[test]
fn unload_spares_containers_unless_forced() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let network = network(&node)?;
        let (one, two) = (Container::add(&network, "one")?, Container::add(&network, "two")?);
        let refusal = repoint(&node, &["unload"]).err().context("unload took slots away")?;
        println!("{refusal:#}");
        traffic::all(&one.host()?, &two.host()?, &two.addresses()?)?;
        repoint(&node, &["unload", "--force"])?;
        ensure_bare(&node)?;
        one.remove()?;
        two.remove()?;
        before.wait_until_restored(node.dirs())
    })
}

#[test]
fn slots_lists_who_has_what() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let network = network(&node)?;
        let one = Container::add(&network, "one")?;
        let difference = before.difference(&Snapshot::take(node.dirs())?);
        for kind in ["record", "map entry", "nftables object"] {
            ensure!(difference.contains(&format!("left: {kind} ")), "no {kind}:\n{difference}");
        }
        print!("{}", repoint(&node, &["slots"])?);
        let slots: Value = serde_json::from_str(&repoint(&node, &["slots", "--json"])?)?;
        let [slot] = slots.as_array().context("no list")?.as_slice() else {
            anyhow::bail!("one slot was expected: {slots}");
        };
        ensure!(slot["container"] == "one" && slot["network"] == "functions", "{slot}");
        for (listed, given) in (0..).zip(one.addresses()?) {
            let text = slot["addresses"][listed].as_str().context("no address")?;
            ensure!(text.starts_with(&format!("{given}/")), "{text} is listed, not {given}");
        }
        one.remove()?;
        ensure!(repoint(&node, &["slots", "--json"])?.trim() == "[]", "a slot is left");
        Ok(())
    })
}

#[test]
fn first_adds_at_the_same_time_load_once() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node)?;
        let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
        let containers: Vec<Container<'_>> = thread::scope(|scope| {
            let network = &network;
            let started: Vec<_> = names
                .iter()
                .map(|name| scope.spawn(move || Container::add(network, name)))
                .collect();
            started.into_iter().map(joined).collect::<Result<_>>()
        })?;
        let [first, .., last] = containers.as_slice() else { anyhow::bail!("no containers") };
        traffic::all(&first.host()?, &last.host()?, &last.addresses()?)?;
        containers.into_iter().try_for_each(Container::remove)
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}
