//! Address management by another plugin: Debian's `host-local`.
#![cfg(test)]

use std::{fs, io::Write as _, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use repoint_common::LAYOUT_VERSION;
use repoint_tests::{
    Container, Netns, Node, Snapshot, command,
    dist::{self, REFERENCE_PLUGINS},
    example, missing,
    plugin::{Attachment, Network},
    program, traffic, wait,
};
use serde_json::{Value, json};

/// Where host-local keeps its reservations of the network.
const RESERVATIONS: &str = "/var/lib/cni/networks/delegated";

fn skipped() -> bool {
    missing([dist::plugin(), Path::new(REFERENCE_PLUGINS).join("host-local")])
}

fn configuration(node: &Node) -> Result<Value> {
    let mut configuration = example("delegated.json")?;
    node.dirs().patch(&mut configuration);
    Ok(configuration)
}

fn is_reserved(address: std::net::IpAddr) -> bool {
    Path::new(RESERVATIONS).join(address.to_string()).exists()
}

#[test]
fn addresses_are_used_and_given_back() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let network = Network::new(&configuration(&node)?, dist::cni_path())?;
        let (one, two) = (Container::add(&network, "one")?, Container::add(&network, "two")?);
        let addresses = [one.addresses()?, two.addresses()?].concat();
        ensure!(addresses.len() == 4, "two addresses each were expected: {addresses:?}");
        ensure!(
            addresses.iter().copied().all(is_reserved),
            "not all of {addresses:?} are reserved"
        );
        traffic::all(&one.host()?, &two.host()?, &two.addresses()?)?;
        traffic::all(&two.host()?, &one.host()?, &one.addresses()?)?;
        one.check()?;
        one.remove()?;
        two.remove()?;
        ensure!(!addresses.iter().copied().any(is_reserved), "not all were given back");
        before.wait_until_restored(node.dirs())
    })
}

/// The plugin that a killed ADD had called goes on, and reserves an address after the ADD's end: the DEL that
/// follows waits for it, and takes the address back.
#[test]
fn a_del_takes_back_what_the_plugin_of_a_killed_add_reserves_later() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        // The node has its folders.
        let network = Network::new(&configuration(&node)?, dist::cni_path())?;
        Container::add(&network, "before")?.remove()?;
        let folder = node.dirs().run.with_extension("plugins");
        let slow = folder.join("host-local");
        let begun = folder.join("begun");
        fs::create_dir(&folder)?;
        let script = format!(
            "#!/bin/sh\n[ $CNI_COMMAND = ADD ] && touch {} && sleep 1\nexec {REFERENCE_PLUGINS}/host-local\n",
            begun.display()
        );
        program::script(&slow, &script)?;
        let path = format!("{}:{}", folder.display(), dist::cni_path());
        let slow = Network::new(&configuration(&node)?, path)?;
        let netns = Netns::create("one")?;
        let attachment = Attachment::new("one", netns.path());
        let call = slow.single("ADD", &attachment, None)?;
        let mut add = call.command();
        let add = add.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut add = add.spawn().context("start the plugin")?;
        let mut stdin = add.stdin.take().context("no standard input")?;
        stdin.write_all(call.input()).context("write the configuration")?;
        drop(stdin);
        wait::until(Duration::from_secs(10), "the IPAM plugin runs", || {
            ensure!(begun.exists(), "it has not begun");
            Ok(())
        })?;
        add.kill()?;
        add.wait()?;
        network.del(&attachment, None)?;
        let left: Vec<_> = fs::read_dir(RESERVATIONS)?
            .filter_map(|file| file.ok()?.file_name().into_string().ok())
            .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
            .collect();
        ensure!(left.is_empty(), "reserved still: {left:?}");
        fs::remove_dir_all(&folder)?;
        netns.remove()
    })
}

/// While something may lead to an address, the plugin must not give it to another container.
#[test]
fn addresses_are_given_back_only_when_nothing_leads_to_them() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = Network::new(&configuration(&node)?, dist::cni_path())?;
        let one = Container::add(&network, "one")?;
        let addresses = one.addresses()?;
        // Another map is in the place of the one from which the address is to be removed.
        let folder = node.dirs().bpf.join(format!("v{LAYOUT_VERSION}"));
        let [own, other, saved] =
            ["endpoints_v4", "counters", "../saved"].map(|name| folder.join(name));
        let pin = |from: &Path, to: &Path| {
            let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
            command::run("bpftool", ["map", "pin", "pinned", &from, &to]).map(drop)
        };
        pin(&own, &saved)?;
        fs::remove_file(&own)?;
        pin(&other, &own)?;
        let failed = network.call_single("DEL", one.attachment(), None)?.error()?;
        println!("DEL: code {}: {}", failed.code, failed.msg);
        ensure!(addresses.iter().copied().all(is_reserved), "{addresses:?} were given back");
        fs::remove_file(&own)?;
        pin(&saved, &own)?;
        fs::remove_file(&saved)?;
        one.remove()?;
        ensure!(!addresses.iter().copied().any(is_reserved), "not all were given back");
        Ok(())
    })
}

#[test]
fn exhaustion_is_passed_on_in_the_delegates_words() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let mut configuration = configuration(&node)?;
        configuration["ipam"]["ranges"] = json!([[{ "subnet": "10.217.2.0/30" }]]);
        let network = Network::new(&configuration, dist::cni_path())?;
        let holder = Container::add(&network, "holder")?;
        let netns = Netns::create("second")?;
        let attachment = Attachment::new("second", netns.path());
        let before = Snapshot::take(node.dirs())?;
        let error = network.call_single("ADD", &attachment, None)?.error()?;
        let said = format!("{} {}", error.msg, error.details);
        println!("code {}: {said}", error.code);
        ensure!(said.contains("no IP addresses available in range set"), "it says: {said}");
        before.wait_until_restored(node.dirs())?;
        holder.remove()?;
        let result = network.add(&attachment)?;
        network.del(&attachment, Some(&result))
    })
}

#[test]
fn a_failure_after_the_delegate_gives_the_address_back() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = Network::new(&configuration(&node)?, dist::cni_path())?;
        let netns = Netns::create("taken")?;
        // The interface's name is taken in the container.
        let taken = ["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"];
        netns.run(|| command::run("ip", taken))?;
        let attachment = Attachment::new("taken", netns.path());
        let error = network.call_single("ADD", &attachment, None)?.error()?;
        println!("code {}: {} {}", error.code, error.msg, error.details);
        let reserved: Vec<String> = fs::read_dir(RESERVATIONS)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .filter(|name| !matches!(name, Ok(name) if name.starts_with("last_") || name == "lock"))
            .collect::<Result<_>>()?;
        ensure!(reserved.is_empty(), "still reserved: {reserved:?}");
        Ok(())
    })
}
