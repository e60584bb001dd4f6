//! Packets that policies deny are counted, by function and rule.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Node, cli};
use serde_json::{Value, json};

use super::{
    apply, ask,
    pair::{Pair, TO_DB, with_pair},
    policy,
};

/// The counters of one direction of a function: rule in words, audit, packets.
fn counted(node: &Node, function: &str, direction: &str) -> Result<Vec<(Value, Value, u64)>> {
    let all: Vec<Value> = cli::query(node, &["policy", "drops"])?;
    let own = all.into_iter().filter(|row| {
        row["tenant"] == "shop" && row["function"] == function && row["direction"] == direction
    });
    own.map(|row| {
        let packets = row["packets"].as_u64().context("no number")?;
        ensure!(row["bytes"] == json!(packets * LENGTH), "{row}");
        Ok((row["by"].clone(), row["audit"].clone(), packets))
    })
    .collect()
}

/// Bytes of a datagram of four bytes, from the Ethernet header on.
const LENGTH: u64 = 14 + 20 + 8 + 4;

fn send(pair: &mut Pair<'_>, datagrams: u64) -> Result<()> {
    (0..datagrams).try_for_each(|_| pair.ensure(false, "denied"))
}

#[test]
fn drops_are_counted_by_function_and_rule() -> Result<()> {
    with_pair(
        |node, pair| {
            apply(node, &policy("shop", "db", TO_DB))?;
            send(pair, 2)?;
            let by = json!("no rule of NetworkPolicy shop/db");
            let ingress = counted(node, "db", "ingress")?;
            ensure!(ingress == [(by.clone(), json!(false), 2)], "{ingress:?}");
            // A rule of another object denies before that.
            let deny = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: \
                        no-udp}\nspec:\n  tier: Admin\n  priority: 1\n  subject: {namespaces: {}}\n  egress:\n  - \
                        action: Deny\n    to: [{namespaces: {}}]\n    protocols: [{udp: {}}]\n";
            apply(node, deny)?;
            send(pair, 3)?;
            let egress = counted(node, "web", "egress")?;
            let rule = json!("egress rule 1 of ClusterNetworkPolicy no-udp");
            ensure!(egress == [(rule, json!(false), 3)], "{egress:?}");
            let ingress = counted(node, "db", "ingress")?;
            ensure!(ingress == [(by, json!(false), 2)], "{ingress:?}");
            let shown = ask(node, &["policy", "drops"])?;
            let line = "shop/web  egress     dropped  3        138    egress rule 1 of ClusterNetworkPolicy no-udp";
            ensure!(shown.lines().any(|shown| shown.trim() == line), "{shown}");
            Ok(())
        },
        true,
    )
}

/// What a policy in audit mode would drop is counted apart.
#[test]
fn what_would_be_dropped_is_counted() -> Result<()> {
    with_pair(
        |node, pair| {
            let trial = policy("shop", "db", TO_DB)
                .replace("{name: db,", "{name: db, annotations: {repoint.dev/audit: \"true\"},");
            apply(node, &trial)?;
            pair.ensure(true, "reported")?;
            let ingress = counted(node, "db", "ingress")?;
            ensure!(ingress == [(json!("NetworkPolicy shop/db"), json!(true), 1)], "{ingress:?}");
            let shown = ask(node, &["policy", "drops"])?;
            ensure!(shown.contains("would be dropped"), "{shown}");
            Ok(())
        },
        false,
    )
}
