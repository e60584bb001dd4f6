//! Containers and the world outside the node: with `ipMasq` under the node's address, without it
//! under their own, to which the outside host knows no way back.
#![cfg(test)]

use std::net::IpAddr;

use anyhow::{Result, ensure};
use repoint_tests::{
    Container, Node, Snapshot, command, dist, missing,
    node::{NODE, OUTSIDE},
    plugin::Network,
    traffic::{self, Host},
};
use serde_json::json;

fn network(node: &Node, name: &str, subnet: u8, masquerade: bool) -> Result<Network> {
    let mut configuration = json!({
        "cniVersion": "1.0.0", "name": name, "type": "repoint-cni", "ipMasq": masquerade,
        "ipam": {
            "ranges": [
                [{ "subnet": format!("10.217.{subnet}.0/24") }],
                [{ "subnet": format!("fd00:217:{subnet}::/64") }],
            ],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        },
    });
    node.dirs().patch(&mut configuration);
    Network::new(&configuration, dist::cni_path())
}

/// Tables, chains and rules of the node, as text.
fn firewall() -> Result<String> {
    command::run("nft", ["--stateless", "list", "ruleset"])
}

#[test]
fn containers_reach_outside_under_the_nodes_address() -> Result<()> {
    if missing([dist::plugin()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "masqueraded", 5, true)?;
        let container = Container::add(&network, "one")?;
        let (inside, outside) = (container.host()?, node.outside_host()?);
        for (own, there) in NODE.into_iter().zip(OUTSIDE) {
            for exchange in [traffic::tcp, traffic::udp] {
                let seen = exchange(&inside, &outside, there)?;
                ensure!(seen == own, "{there} sees {seen}, not the node's {own}");
            }
        }
        container.remove()
    })
}

#[test]
fn containers_see_each_other_and_the_node_sees_them_under_their_own_addresses() -> Result<()> {
    if missing([dist::plugin()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "masqueraded", 5, true)?;
        let (one, two) = (Container::add(&network, "one")?, Container::add(&network, "two")?);
        let (here, from, to) = (Host::here("node")?, one.host()?, two.host()?);
        for ((own, other), of_node) in one.addresses()?.into_iter().zip(two.addresses()?).zip(NODE)
        {
            for (target, address) in [(&to, other), (&here, of_node)] {
                let seen = traffic::tcp(&from, target, address)?;
                ensure!(seen == own, "{} sees {seen}, not {own}", target.name());
            }
        }
        one.remove()?;
        two.remove()
    })
}

#[test]
fn without_masquerade_no_answer_comes_from_outside() -> Result<()> {
    if missing([dist::plugin()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "plain", 6, false)?;
        let container = Container::add(&network, "one")?;
        let (inside, here, outside) =
            (container.host()?, Host::here("node")?, node.outside_host()?);
        traffic::all(&inside, &here, &NODE)?;
        for there in OUTSIDE {
            traffic::no_tcp(&inside, &outside, there)?;
        }
        let ruleset = firewall()?;
        ensure!(ruleset.is_empty(), "rules nobody asked for:\n{ruleset}");
        container.remove()
    })
}

#[test]
fn one_rule_serves_the_whole_node_and_goes_with_the_last_container() -> Result<()> {
    if missing([dist::plugin()]) {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let before = Snapshot::take(node.dirs())?;
        let networks = [
            network(&node, "one", 5, true)?,
            network(&node, "two", 6, true)?,
            network(&node, "plain", 7, false)?,
        ];
        let first = Container::add(&networks[0], "first")?;
        let with_one = firewall()?;
        println!("{with_one}");
        let second = Container::add(&networks[1], "second")?;
        let plain = Container::add(&networks[2], "plain")?;
        ensure!(firewall()? == with_one, "a rule was added:\n{}", firewall()?);
        first.remove()?;
        let there: IpAddr = OUTSIDE[0];
        traffic::tcp(&second.host()?, &node.outside_host()?, there)?;
        traffic::no_tcp(&plain.host()?, &node.outside_host()?, there)?;
        second.remove()?;
        plain.remove()?;
        before.wait_until_restored(node.dirs())
    })
}
