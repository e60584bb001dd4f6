//! A node on which another version of repoint, with other maps, has slots: no container of either version
//! may be one that the other's programs do not know.
#![cfg(test)]

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use repoint_common::LAYOUT_VERSION;
use repoint_tests::{
    Agent, Container, Netns, Node, Snapshot, cli, dist, missing,
    networks::{network, pool},
    plugin::{Attachment, Network},
    traffic,
};

fn skipped() -> bool {
    missing([dist::plugin(), dist::cli(), dist::agent()])
}

/// Makes of the loaded data plane one of another layout: attached programs and maps stay what they are.
fn age(node: &Node) -> Result<PathBuf> {
    let bpf = &node.dirs().bpf;
    let old = bpf.join(format!("v{}", LAYOUT_VERSION - 1));
    fs::rename(bpf.join(format!("v{LAYOUT_VERSION}")), &old).context("rename the pins")?;
    Ok(old)
}

/// The error of an ADD of one container more.
fn refusal(network: &Network) -> Result<String> {
    let netns = Netns::create("refused")?;
    let attachment = Attachment::new("refused", netns.path());
    let error = network.call_single("ADD", &attachment, None)?.error()?;
    println!("{} {} {}", error.code, error.msg, error.details);
    network.del(&attachment, None)?;
    netns.remove()?;
    Ok(format!("{} {}", error.msg, error.details))
}

fn upgrade(pooled: bool) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let empty = Snapshot::take(node.dirs())?;
        let network = network(&node, "net", 7, |configuration| pool(configuration, pooled))?;
        let (one, other) = (Container::add(&network, "one")?, Container::add(&network, "other")?);
        let old = age(&node)?;
        let refused = refusal(&network)?;
        for part in [&*old.to_string_lossy(), "has slots", "stop the node's containers"] {
            ensure!(refused.contains(part), "the error does not say {part}: {refused}");
        }
        // What runs goes on running.
        traffic::all(&one.host()?, &other.host()?, &other.addresses()?)?;
        let refused = cli::repoint(&node, &["load"]).err().context("it was loaded")?;
        ensure!(format!("{refused:#}").contains("another version of repoint"), "{refused:#}");
        let refused = cli::repoint(&node, &["unload"]).err().context("it was unloaded")?;
        ensure!(format!("{refused:#}").contains("slots are on this node"), "{refused:#}");
        // The containers stop, and nothing of the other layout is in use.
        [one, other].into_iter().try_for_each(Container::remove)?;
        let next = Container::add(&network, "next")?;
        next.check()?;
        next.remove()?;
        cli::repoint(&node, &["unload"])?;
        empty.wait_until_restored(node.dirs())
    })
}

#[test]
fn another_version_waits_until_the_node_is_drained() -> Result<()> {
    if skipped() { Ok(()) } else { upgrade(false) }
}

#[test]
fn another_version_waits_until_a_pool_is_drained() -> Result<()> {
    if skipped() { Ok(()) } else { upgrade(true) }
}

/// A slot that waits in a pool is a slot.
#[test]
fn another_version_waits_for_slots_of_pools() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, true))?;
        Container::add(&network, "one")?.remove()?;
        cli::repoint(&node, &["pool", "fill", "net"])?;
        age(&node)?;
        let refused = cli::repoint(&node, &["load"]).err().context("it was loaded")?;
        ensure!(format!("{refused:#}").contains("another version of repoint"), "{refused:#}");
        cli::repoint(&node, &["unload"])?;
        ensure!(!node.dirs().bpf.exists(), "{} is left", node.dirs().bpf.display());
        Ok(())
    })
}

/// Also where the database is lost.
#[test]
fn unload_spares_slots_of_another_version_unless_forced() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |_| ())?;
        let one = Container::add(&network, "one")?;
        let old = age(&node)?;
        fs::remove_dir_all(node.dirs().run.join("state")).context("lose the database")?;
        // Then with a database that a refused ADD has made.
        for _ in 0..2 {
            let refused = cli::repoint(&node, &["unload"]).err().context("it was unloaded")?;
            println!("{refused:#}");
            ensure!(format!("{refused:#}").contains("no database"), "{refused:#}");
            ensure!(old.exists(), "{} is gone", old.display());
            refusal(&network)?;
        }
        cli::repoint(&node, &["unload", "--force"])?;
        ensure!(!node.dirs().bpf.exists(), "{} is left", node.dirs().bpf.display());
        one.remove()
    })
}

/// An agent ends with the same words.
#[test]
fn an_agent_says_why_it_does_not_start() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |_| ())?;
        let one = Container::add(&network, "one")?;
        age(&node)?;
        let said = Agent::fail(&node)?;
        println!("{said}");
        ensure!(said.contains("is the data plane of another version"), "{said}");
        one.remove()?;
        cli::repoint(&node, &["unload"]).map(drop)
    })
}
