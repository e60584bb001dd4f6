//! Several networks in one container: each address answers on its own interface.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, command,
    networks::{POOLED, network, pool},
    node::{NODE_V4, NODE_V6},
    plugin::Attachment,
    traffic::{self, Host},
};
use serde_json::Value;

use super::skipped;

fn addresses(result: &Value) -> Result<Vec<IpAddr>> {
    let ips = result["ips"].as_array().context("no ips")?;
    let parse = |ip: &Value| {
        let (address, _) = ip["address"].as_str()?.split_once('/')?;
        address.parse().ok()
    };
    ips.iter().map(|ip| parse(ip).context("no address")).collect()
}

fn rules(host: &Host) -> Result<String> {
    host.run(|| Ok(command::run("ip", ["rule"])? + &command::run("ip", ["-6", "rule"])?))
}

/// A further network of a container that has one.
fn further(container: &Container<'_>, ifname: &str) -> Attachment {
    Attachment { ifname: ifname.to_owned(), ..container.attachment().clone() }
}

#[test]
fn every_address_answers_on_its_own_interface() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    for pooled in POOLED {
        let node = Node::new()?;
        // The world outside knows the way to both networks.
        node.outside(|| {
            for (subnet, via) in [
                ("10.217.7.0/24", NODE_V4.to_string()),
                ("10.217.8.0/24", NODE_V4.to_string()),
                ("fd00:217:7::/64", NODE_V6.to_string()),
                ("fd00:217:8::/64", NODE_V6.to_string()),
            ] {
                command::run("ip", ["route", "add", subnet, "via", &via])?;
            }
            Ok(())
        })?;
        node.run(|| {
            let first = network(&node, "first", 7, |configuration| pool(configuration, pooled))?;
            let second = network(&node, "second", 8, |_| ())?;
            let (one, other) = (Container::add(&first, "one")?, Container::add(&second, "other")?);
            let before = rules(&one.host()?)?;
            let attachment = further(&one, "net1");
            let result = second.add(&attachment)?;
            println!("pooled {pooled}: {}", rules(&one.host()?)?);
            let here = Host::here("node")?;
            let (inside, outside, beside) = (one.host()?, node.outside_host()?, other.host()?);
            for at in addresses(&result)?.into_iter().chain(one.addresses()?) {
                for client in [&here, &outside, &beside] {
                    let seen = traffic::tcp(client, &inside, at)
                        .and_then(|_| traffic::udp(client, &inside, at));
                    seen.with_context(|| format!("{} to {at}", client.name()))?;
                }
            }
            // Without a source address of its own the container uses the first.
            traffic::all(&inside, &beside, &other.addresses()?)?;
            second.check(&attachment, &result)?;
            one.check()?;
            lost_rules_are_seen(&one, &second, &attachment, &result)?;
            second.del(&attachment, Some(&result))?;
            let after = rules(&inside)?;
            ensure!(before == after, "DEL left rules:\n{after}");
            one.check()?;
            traffic::all(&here, &inside, &one.addresses()?)?;
            one.remove()?;
            other.remove()
        })?;
    }
    Ok(())
}

fn lost_rules_are_seen(
    one: &Container<'_>,
    second: &repoint_tests::plugin::Network,
    attachment: &Attachment,
    result: &Value,
) -> Result<()> {
    let source = addresses(result)?.first().context("no address")?.to_string();
    let lose = ["rule", "del", "from", &source];
    one.host()?.run(|| command::run("ip", lose))?;
    let outcome = second.check(attachment, result);
    ensure!(outcome.is_err(), "CHECK misses no rule for {source}");
    Ok(())
}

/// Three networks, and the middle one is left first.
#[test]
fn rules_go_with_their_interface() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let node = Node::new()?;
    node.run(|| {
        let networks =
            [7, 8, 9].map(|subnet| network(&node, &format!("n{subnet}"), subnet, |_| ()));
        let [first, second, third] = networks;
        let (first, second, third) = (first?, second?, third?);
        let one = Container::add(&first, "one")?;
        let before = rules(&one.host()?)?;
        let (net1, net2) = (further(&one, "net1"), further(&one, "net2"));
        let (result1, result2) = (second.add(&net1)?, third.add(&net2)?);
        let count = |text: &str| text.matches("lookup 19").count();
        let all = rules(&one.host()?)?;
        ensure!(count(&all) == 6, "not two rules for each of three interfaces:\n{all}");
        second.del(&net1, Some(&result1))?;
        let fewer = rules(&one.host()?)?;
        ensure!(count(&fewer) == 4, "not two rules for each of two interfaces:\n{fewer}");
        let here = Host::here("node")?;
        traffic::all(&here, &one.host()?, &addresses(&result2)?)?;
        third.del(&net2, Some(&result2))?;
        let after = rules(&one.host()?)?;
        ensure!(before == after, "DEL left rules:\n{after}");
        one.remove()
    })
}
