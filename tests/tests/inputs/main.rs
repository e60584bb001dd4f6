//! What goes into the executable: absent, null, empty, of a wrong type or version, misspelt, of another
//! kind, and addresses that do not work.
#![cfg(test)]

mod addresses;
mod documents;
mod prev_result;
mod removal;

use anyhow::{Result, ensure};
use repoint_tests::{
    Netns, Node, Snapshot, cli, dist, missing,
    plugin::{Call, CniError, Outcome},
};
use serde_json::{Value, json};

/// Codes of the spec.
const INCOMPATIBLE_VERSION: u32 = 1;
const DECODING_FAILURE: u32 = 6;
const INVALID_CONFIGURATION: u32 = 7;
/// repoint's own: no address can be had.
const NO_ADDRESS: u32 = 102;

/// Runs a test on a node of its own, at whose end nothing may be left.
fn on_a_node(test: impl FnOnce(&Node) -> Result<()> + Send) -> Result<()> {
    if missing([dist::plugin(), dist::cli()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        test(&node)?;
        before.wait_until_restored(node.dirs())
    })
}

/// A network of both families, without a pool.
fn configuration(node: &Node) -> Value {
    let mut configuration = json!({
        "cniVersion": "1.1.0", "name": "inputs", "type": "repoint-cni", "ipMasq": true,
        "ipam": {
            "ranges": [[{ "subnet": "10.217.7.0/24" }], [{ "subnet": "fd00:217:7::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        },
    });
    node.dirs().patch(&mut configuration);
    configuration
}

/// A call about one container, whose namespace is at this path.
fn call(verb: &str, configuration: &Value, container: &str, netns: &Netns) -> Call {
    Call::new(dist::plugin(), verb, configuration)
        .container_id(container)
        .netns(netns.path())
        .ifname("eth0")
        .path(&dist::cni_path())
}

/// A call about no container.
fn network_call(verb: &str, configuration: &Value) -> Call {
    Call::new(dist::plugin(), verb, configuration).path(&dist::cni_path())
}

/// A container that was added by a call, and its namespace.
fn add(configuration: &Value, container: &str) -> Result<(Netns, Value)> {
    let netns = Netns::create(container)?;
    let result = call("ADD", configuration, container, &netns).run()?.json()?;
    Ok((netns, result))
}

/// Ends it.
fn end(configuration: &Value, container: &str, netns: Netns) -> Result<()> {
    call("DEL", configuration, container, &netns).run()?.success()?;
    netns.remove()
}

/// The error of a call, which must be of this code and say all of this.
fn refused(what: &str, outcome: Outcome, code: u32, said: &[&str]) -> Result<CniError> {
    let error = outcome.error()?;
    println!("{what}: code {}: {} {}", error.code, error.msg, error.details);
    ensure!(error.code == code, "{what}: code {}, not {code}: {}", error.code, error.msg);
    for part in said {
        ensure!(error.msg.contains(part), "{what}: the error does not say {part:?}: {}", error.msg);
    }
    Ok(error)
}

/// Containers that have a slot.
fn attached(node: &Node) -> Result<Vec<String>> {
    let mut containers: Vec<String> =
        cli::slots(node)?.into_iter().filter_map(|slot| slot.container).collect();
    containers.sort();
    Ok(containers)
}
