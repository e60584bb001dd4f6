//! What goes wrong, through the executable: the error says what, and nothing is left behind.
#![cfg(test)]

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Netns, Node, Snapshot, dist, missing,
    plugin::{Attachment, Call, CniError, Network},
};
use serde_json::{Value, json};

/// The spec's code of a configuration that cannot be used.
const INVALID_CONFIGURATION: u32 = 7;

fn configuration(node: &Node, subnet: &str) -> Value {
    let mut configuration = json!({
        "cniVersion": "1.0.0", "name": "errors", "type": "repoint-cni", "ipMasq": true,
        "capabilities": { "ips": true },
        "ipam": { "ranges": [[{ "subnet": subnet }]], "routes": [{ "dst": "0.0.0.0/0" }] },
    });
    node.dirs().patch(&mut configuration);
    configuration
}

/// Keys of [`configuration`] as JSON pointers, a value that each must not have (`null`: it is not
/// there), and the key's name as the error is to have it.
fn wrong_keys() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/name", Value::Null, "name"),
        ("/name", json!("../etc"), "name"),
        ("/ipMasq", json!("yes"), "ipMasq"),
        ("/mtu", json!(12), "mtu"),
        ("/runDir", json!("run"), "runDir"),
        ("/bpfDir", json!(4), "bpfDir"),
        ("/ipam", Value::Null, "ipam"),
        ("/ipam", json!([]), "ipam"),
        ("/ipam/ranges", json!("10.0.0.0/8"), "ipam.ranges"),
        ("/ipam/ranges/0/0/subnet", json!("10.0.0.0/33"), "ipam.ranges[0][0].subnet"),
        ("/ipam/ranges/0/0/rangeStart", json!("10.9.9.9"), "ipam.ranges[0][0].rangeStart"),
        ("/ipam/routes/0/dst", json!("everywhere"), "ipam.routes[0].dst"),
        ("/dns", json!("192.0.2.53"), "dns"),
        ("/runtimeConfig", json!({ "ips": "10.217.8.9" }), "runtimeConfig.ips"),
    ]
}

/// Sets a key, whose parent must be there.
fn set(configuration: &mut Value, pointer: &str, value: &Value) -> Result<()> {
    let (parent, key) = pointer.rsplit_once('/').context("not a JSON pointer")?;
    let parent = configuration.pointer_mut(parent).with_context(|| format!("no {parent}"))?;
    match parent {
        Value::Array(list) => list[key.parse::<usize>()?] = value.clone(),
        other => other[key] = value.clone(),
    }
    Ok(())
}

fn add_fails(configuration: &Value, netns: &Netns) -> Result<CniError> {
    let call = Call::new(dist::plugin(), "ADD", configuration)
        .container_id("wrong")
        .netns(netns.path())
        .ifname("eth0")
        .path(&dist::cni_path());
    call.run()?.error()
}

#[test]
fn a_wrong_key_is_named() -> Result<()> {
    if missing([dist::plugin()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let netns = Netns::create("wrong")?;
        let before = Snapshot::take(node.dirs())?;
        for (pointer, value, name) in wrong_keys() {
            let mut configuration = configuration(&node, "10.217.8.0/24");
            set(&mut configuration, pointer, &value)?;
            let error = add_fails(&configuration, &netns)?;
            println!("{pointer} = {value}: code {}: {} {}", error.code, error.msg, error.details);
            ensure!(error.code == INVALID_CONFIGURATION, "{pointer}: code {}", error.code);
            let said = format!("{} {}", error.msg, error.details);
            let words: Vec<&str> = said.split(' ').map(|word| word.trim_end_matches(':')).collect();
            ensure!(words.contains(&name), "{pointer}: the error does not name {name}: {said}");
        }
        let after = Snapshot::take(node.dirs())?;
        ensure!(after == before, "left behind:\n{}", before.difference(&after));
        Ok(())
    })
}

#[test]
fn an_exhausted_subnet_is_named_with_the_number_in_use() -> Result<()> {
    if missing([dist::plugin()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let empty = Snapshot::take(node.dirs())?;
        let network = Network::new(&configuration(&node, "10.217.8.0/29"), dist::cni_path())?;
        // Of eight addresses, network, broadcast and gateway are not given out.
        let containers: Vec<Container<'_>> = (0..5)
            .map(|number| Container::add(&network, &format!("c{number}")))
            .collect::<Result<_>>()?;
        let netns = Netns::create("one-too-many")?;
        let full = Snapshot::take(node.dirs())?;
        let attachment = Attachment::new("one-too-many", netns.path());
        let error = network.call_single("ADD", &attachment, None)?.error()?;
        let said = format!("{} {}", error.msg, error.details);
        println!("code {}: {said}", error.code);
        for part in ["network errors", "10.217.8.", "5 of 5"] {
            ensure!(said.contains(part), "the error does not say {part}: {said}");
        }
        full.wait_until_restored(node.dirs())?;
        let interfaces = netns.run(|| repoint_tests::command::run("ip", ["-brief", "link"]))?;
        ensure!(interfaces.lines().count() == 1, "left in the container:\n{interfaces}");
        network.del(&attachment, None)?;
        netns.remove()?;
        containers.into_iter().try_for_each(Container::remove)?;
        empty.wait_until_restored(node.dirs())
    })
}

#[test]
fn an_address_that_is_taken_is_refused() -> Result<()> {
    if missing([dist::plugin()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = Network::new(&configuration(&node, "10.217.8.0/24"), dist::cni_path())?;
        let ask = |attachment: Attachment| attachment.capability("ips", json!(["10.217.8.77/24"]));
        let holder = Container::add_with(&network, "holder", ask)?;
        let got = &holder.result()["ips"][0]["address"];
        ensure!(got == "10.217.8.77/24", "asked for 10.217.8.77/24, got {got}");
        let netns = Netns::create("second")?;
        let attachment = ask(Attachment::new("second", netns.path()));
        let error = network.call_single("ADD", &attachment, None)?.error()?;
        let said = format!("{} {}", error.msg, error.details);
        println!("code {}: {said}", error.code);
        ensure!(said.contains("10.217.8.77"), "the error does not name the address: {said}");
        holder.check()?;
        holder.remove()?;
        let result = network.add(&attachment)?;
        network.del(&attachment, Some(&result))
    })
}
