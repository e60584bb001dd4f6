//! Policies from `apply` to `delete`, on containers that run.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Node, cli};
use serde_json::Value;

use super::{
    apply, ask,
    pair::{TO_DB, with_pair},
    policy,
};

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
