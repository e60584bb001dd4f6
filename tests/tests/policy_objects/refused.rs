//! Policies that cannot be enforced: nothing is applied by half, and no function starts without its policies.

use std::{fs, ops::Range};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Node, cli,
    netns::Netns,
    networks::{network, pool},
    plugin::Attachment,
    pooled::user,
};
use serde_json::Value;

use super::{FILE, add, apply, ask, ensure_clean, policy};

/// A policy that allows ports to functions with a label of its name.
fn many(tenant: &str, name: &str, ports: Range<u16>) -> String {
    let ports: Vec<_> = ports.map(|port| format!("{{port: {port}}}")).collect();
    let ports = ports.join(",");
    let spec = format!(
        "{{podSelector: {{matchLabels: {{{name}: 'yes'}}}}, ingress: [{{ports: [{ports}]}}]}}"
    );
    policy(tenant, name, &spec)
}

fn refusal(node: &Node, policies: &str) -> Result<String> {
    match apply(node, policies) {
        Ok(said) => anyhow::bail!("applied: {said}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// The 65th rule of a function is refused by name at `apply`, and where labels bring policies together later, the
/// function's ADD fails.
#[test]
fn more_rules_than_a_policy_has_are_refused_by_name() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, true))?;
        let web = add(&network, "web", ("shop", "web"))?;
        cli::repoint(&node, &["label", "--tenant", "shop", "--function", "web", "one=yes", "two=yes"])?;
        apply(&node, &many("shop", "one", 1..65))?;
        let why = refusal(&node, &many("shop", "two", 65..66))?;
        ensure!(
            why.contains("ingress of function web of tenant shop in network net would need 65 rules, and 64 is the \
                          most: NetworkPolicy shop/one, NetworkPolicy shop/two"),
            "{why}"
        );
        let listed: Value = cli::query(&node, &["policy"])?;
        ensure!(listed.as_array().is_some_and(|listed| listed.len() == 1), "{listed}");
        // No function on record has both labels.
        cli::repoint(&node, &["label", "--tenant", "shop", "--function", "web", "two-"])?;
        apply(&node, &many("shop", "two", 65..66))?;
        cli::repoint(&node, &["label", "--tenant", "shop", "--function", "db", "one=yes", "two=yes"])?;
        let netns = Netns::create("db")?;
        let attachment = Attachment::new("db", netns.path()).args(&user("shop", "db"));
        let refused = network.add(&attachment).map(drop);
        let why = refused.err().map(|error| format!("{error:#}")).context("the ADD succeeded")?;
        ensure!(why.contains("would need 65 rules") && why.contains("shop/two"), "{why}");
        network.del(&attachment, None)?;
        cli::repoint(&node, &["label", "--tenant", "shop", "--function", "db", "two-"])?;
        network.add(&attachment)?;
        network.del(&attachment, None)?;
        ensure_clean(&node)?;
        web.remove()
    })
}

/// Errors name file, line and object, and nothing of the file is applied.
#[test]
fn a_file_with_an_error_is_refused_whole() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        apply(&node, &policy("shop", "before", "{podSelector: {}}"))?;
        let good = policy("shop", "good", "{podSelector: {}}");
        let bad = policy("shop", "bad", "{podSelector: {}, ingres: []}");
        let why = refusal(&node, &format!("{good}{bad}"))?;
        ensure!(why.contains(&format!("{FILE}:9:")) && why.contains("ingres"), "{why}");
        ensure!(why.contains("NetworkPolicy shop/bad"), "{why}");
        let listed: Value = cli::query(&node, &["policy"])?;
        ensure!(listed.as_array().is_some_and(|listed| listed.len() == 1), "{listed}");
        let why = refusal(&node, &format!("{good}{good}"))?;
        ensure!(why.contains("shop/good"), "{why}");
        fs::write(FILE, &good).context("write")?;
        let said = ask(&node, &["policy", "apply", "--dry-run", "-f", FILE])?;
        ensure!(said.ends_with("nothing was done"), "{said}");
        let listed: Value = cli::query(&node, &["policy"])?;
        ensure!(listed.as_array().is_some_and(|listed| listed.len() == 1), "{listed}");
        Ok(())
    })
}

/// A policy that denies so many prefixes.
fn prefixes(second: u8, count: u32) -> String {
    let except = |number: u32| {
        let [_, _, third, fourth] = number.to_be_bytes();
        format!("10.{second}.{third}.{fourth}/32")
    };
    let except: Vec<_> = (0..count).map(except).collect();
    let spec = format!(
        "{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{{ipBlock: {{cidr: 10.{second}.0.0/16, except: \
         [{}]}}}}]}}]}}",
        except.join(", ")
    );
    policy("shop", "blocks", &spec)
}

/// The maps hold the prefixes of before and after while they are written.
#[test]
fn more_prefixes_than_the_maps_hold_are_refused() -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, true))?;
        let why = refusal(&node, &prefixes(1, 16_384))?;
        ensure!(why.contains("name 16385 prefixes of IPv4"), "{why}");
        apply(&node, &prefixes(1, 9000))?;
        let why = refusal(&node, &prefixes(2, 9000))?;
        ensure!(why.contains("name 18002 prefixes of IPv4"), "{why}");
        let web = add(&network, "web", ("shop", "web"))?;
        ensure_clean(&node)?;
        cli::repoint(&node, &["policy", "delete", "shop/blocks"])?;
        apply(&node, &prefixes(2, 9000))?;
        ensure_clean(&node)?;
        web.remove()
    })
}
