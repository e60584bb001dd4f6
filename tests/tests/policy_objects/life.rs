//! Policies from `apply` to `delete`, on containers that run.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Node, cli,
    networks::{network, pool},
    traffic::Host,
    wait,
};
use serde_json::Value;

use super::{add, apply, ask, ensure_clean, policy};

const LIMIT: Duration = Duration::from_secs(5);
/// How long a datagram that must not come is awaited.
const SILENCE: Duration = Duration::from_millis(200);

/// A client and a server of UDP that stay open.
struct Pair<'a> {
    client: UdpSocket,
    server: UdpSocket,
    target: SocketAddr,
    number: u32,
    containers: [&'a Container<'a>; 2],
}

impl<'a> Pair<'a> {
    fn new(client: &'a Container<'a>, server: &'a Container<'a>) -> Result<Self> {
        let target = SocketAddr::new(server.addresses()?[0], 9);
        let own: Host = client.host()?;
        Ok(Self {
            client: own.bind_udp((client.addresses()?[0], 4000).into())?,
            server: server.host()?.bind_udp(target)?,
            target,
            number: 0,
            containers: [client, server],
        })
    }

    /// Fails unless a datagram arrives, or does not.
    fn ensure(&mut self, arrives: bool, when: &str) -> Result<()> {
        self.number += 1;
        let number = self.number;
        self.client.send_to(&number.to_be_bytes(), self.target).context("send")?;
        self.server.set_nonblocking(true).context("set non-blocking")?;
        let limit = if arrives { LIMIT } else { SILENCE };
        let found = wait::until(limit, "it arrives", || {
            let mut buffer = [0; 4];
            while self.server.recv(&mut buffer).is_ok() {
                if u32::from_be_bytes(buffer) == number {
                    return Ok(());
                }
            }
            ensure!(false, "it does not");
            Ok(())
        });
        ensure!(found.is_ok() == arrives, "{when}: arrives {}, not {arrives}", found.is_ok());
        Ok(())
    }

    /// What `explain` says, which is what packets meet.
    fn explain(&self, node: &Node) -> Result<String> {
        let end = |container: &Container<'_>| {
            Ok::<_, anyhow::Error>(container.addresses()?[0].to_string())
        };
        let [from, to] = [end(self.containers[0])?, format!("{}:9/UDP", end(self.containers[1])?)];
        cli::repoint(node, &["policy", "explain", "--from", &from, "--to", &to])
    }
}

fn with_pair(
    test: impl FnOnce(&Node, &mut Pair<'_>) -> Result<()> + Send,
    pooled: bool,
) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, |configuration| pool(configuration, pooled))?;
        let one = add(&network, "one", ("shop", "web"))?;
        let two = add(&network, "two", ("shop", "db"))?;
        let mut pair = Pair::new(&one, &two)?;
        pair.ensure(true, "without policies")?;
        test(&node, &mut pair)?;
        one.check()?;
        two.check()?;
        ensure_clean(&node)?;
        one.remove()?;
        two.remove()?;
        ensure_clean(&node)
    })
}

const TO_DB: &str = "{podSelector: {matchLabels: {repoint.dev/function: db}}, ingress: [{from: [{podSelector: \
                     {matchLabels: {app: web}}}], ports: [{protocol: UDP, port: 9}]}]}";

/// Each step of a policy's life takes effect on the flow that is open, and `explain` and `events` say why.
#[test]
fn policies_take_effect_on_flows_that_are_open() -> Result<()> {
    for pooled in [true, false] {
        with_pair(
            |node, pair| {
                let said = apply(node, &policy("shop", "db", TO_DB))?;
                ensure!(said == "NetworkPolicy shop/db new", "{said}");
                pair.ensure(false, "without the label")?;
                let explained = pair.explain(node)?;
                ensure!(
                    explained.contains("no rule of NetworkPolicy shop/db allows it"),
                    "{explained}"
                );
                let events = cli::repoint(node, &["events", "--reason", "policy_ingress"])?;
                ensure!(events.contains("by=\"no rule of NetworkPolicy shop/db\""), "{events}");
                ensure!(
                    events.contains("of=shop/web") && events.contains("peer=shop/db"),
                    "{events}"
                );
                cli::repoint(node, &["label", "--tenant", "shop", "--function", "web", "app=web"])?;
                pair.ensure(true, "with the label")?;
                let explained = pair.explain(node)?;
                ensure!(
                    explained.contains("allowed by ingress rule 1 of NetworkPolicy shop/db"),
                    "{explained}"
                );
                cli::repoint(node, &["label", "--tenant", "shop", "--function", "web", "app-"])?;
                pair.ensure(false, "without the label again")?;
                let said = ask(node, &["policy", "delete", "shop/db"])?;
                ensure!(said == "NetworkPolicy shop/db deleted", "{said}");
                pair.ensure(true, "after the policy")?;
                let listed: Value = cli::query(node, &["policy"])?;
                ensure!(listed.as_array().is_some_and(Vec::is_empty), "{listed}");
                Ok(())
            },
            pooled,
        )?;
    }
    Ok(())
}

/// A `ClusterNetworkPolicy` comes before what the tenant allows, and one that only reports drops nothing.
#[test]
fn policies_of_the_node_come_first_and_may_only_report() -> Result<()> {
    with_pair(
        |node, pair| {
            let cluster = |audit: &str| {
                format!(
                    "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: \
                     {{name: no-db, annotations: {{repoint.dev/audit: \"{audit}\"}}}}\nspec:\n  tier: Admin\n  \
                     priority: 10\n  subject: {{namespaces: {{}}}}\n  egress:\n  - name: db\n    action: Deny\n    \
                     to: [{{pods: {{namespaceSelector: {{}}, podSelector: {{matchLabels: \
                     {{repoint.dev/function: db}}}}}}}}]\n"
                )
            };
            apply(
                node,
                &policy("shop", "all", "{podSelector: {}, egress: [{}], policyTypes: [Egress]}"),
            )?;
            apply(node, &cluster("true"))?;
            pair.ensure(true, "reported")?;
            let events: Vec<Value> = events(node)?;
            let last = events.last().context("no event")?;
            ensure!(last["audit"] == true, "{last}");
            ensure!(last["by"] == "egress rule 1 (db) of ClusterNetworkPolicy no-db", "{last}");
            let said = apply(node, &cluster("false"))?;
            ensure!(said == "ClusterNetworkPolicy no-db changed", "{said}");
            pair.ensure(false, "enforced")?;
            let listed: Value = cli::query(node, &["policy", "list"])?;
            ensure!(listed[1]["tier"] == "admin" && listed[1]["functions"] == 2, "{listed}");
            cli::repoint(node, &["policy", "delete", "no-db"])?;
            pair.ensure(true, "deleted")
        },
        true,
    )
}

fn events(node: &Node) -> Result<Vec<Value>> {
    let shown = cli::repoint(node, &["events", "--json", "--reason", "policy_egress"])?;
    Ok(shown.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// What `show` prints can be applied, and says the same.
#[test]
fn what_is_shown_can_be_applied() -> Result<()> {
    with_pair(
        |node, pair| {
            apply(node, &policy("shop", "db", TO_DB))?;
            let shown = cli::repoint(node, &["policy", "show", "--all"])?;
            cli::repoint(node, &["policy", "delete", "shop/db"])?;
            pair.ensure(true, "deleted")?;
            apply(node, &shown)?;
            pair.ensure(false, "applied again")?;
            ensure!(cli::repoint(node, &["policy", "show", "--all"])? == shown, "{shown}");
            let said = apply(node, &shown)?;
            ensure!(said == "NetworkPolicy shop/db unchanged", "{said}");
            Ok(())
        },
        true,
    )
}
