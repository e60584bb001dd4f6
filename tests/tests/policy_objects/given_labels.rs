//! Labels that the start of a container gives to its function.

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Netns, Node, cli,
    networks::{network, pool},
    plugin::{Attachment, Network},
    pooled::user,
};
use serde_json::{Value, json};

use super::{
    add, apply, ensure_clean,
    pair::{Pair, TO_DB},
    policy,
};

/// The capability by which a runtime passes a pod's annotations.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

fn labelled<'a>(network: &'a Network, name: &str, labels: &str) -> Result<Container<'a>> {
    let args = format!("{};repoint.dev/labels={labels}", user("shop", "web"));
    Container::add_with(network, name, |attachment| attachment.args(&args))
}

/// A database that only functions with label `app: web` reach.
fn with_database(
    change: fn(&mut Value),
    test: impl FnOnce(&Node, &Network, &Container<'_>) -> Result<()> + Send,
) -> Result<()> {
    let node = Node::new()?;
    node.run(|| {
        let network = network(&node, "net", 7, change)?;
        let database = add(&network, "db", ("shop", "db"))?;
        apply(&node, &policy("shop", "db", TO_DB))?;
        test(&node, &network, &database)?;
        ensure_clean(&node)?;
        database.remove()?;
        ensure_clean(&node)
    })
}

fn pooled(configuration: &mut Value) {
    pool(configuration, true);
}

fn labels(node: &Node) -> Result<Value> {
    let identities: Vec<Value> = cli::query(node, &["identities"])?;
    let found = identities.into_iter().find(|row| row["function"] == "web");
    Ok(found.context("no function web")?["labels"].clone())
}

/// They are in force before the first packet, hold for all containers of the function, and the last start decides.
#[test]
fn labels_of_a_start_are_the_functions() -> Result<()> {
    for change in [pooled, |_: &mut Value| ()] {
        with_database(change, |node, network, database| {
            let first = labelled(network, "first", "app=web,tier=front")?;
            let mut pair = Pair::new(&first, database)?;
            pair.ensure(true, "a new function")?;
            ensure!(labels(node)? == json!({ "app": "web", "tier": "front" }), "{}", labels(node)?);
            add(network, "plain", ("shop", "web"))?.remove()?;
            pair.ensure(true, "after a start without labels")?;
            let other = labelled(network, "other", "app=api")?;
            pair.ensure(false, "after a start with another label")?;
            ensure_clean(node)?;
            let third = labelled(network, "third", "app=web")?;
            pair.ensure(true, "after a start with the label again")?;
            let fourth = labelled(network, "fourth", "none")?;
            pair.ensure(false, "after a start with no labels")?;
            ensure!(labels(node)? == json!({}), "{}", labels(node)?);
            [first, other, third, fourth].into_iter().try_for_each(Container::remove)
        })?;
    }
    Ok(())
}

/// What the operator declares counts first, and a policy that comes later knows the labels.
#[test]
fn the_operators_labels_come_first() -> Result<()> {
    with_database(pooled, |node, network, database| {
        let web = labelled(network, "web", "app=web")?;
        let mut pair = Pair::new(&web, database)?;
        let label = |label| {
            let arguments = ["label", "--tenant", "shop", "--function", "web", label];
            cli::repoint(node, &arguments)
        };
        label("app=api")?;
        pair.ensure(false, "the operator says otherwise")?;
        label("app-")?;
        pair.ensure(true, "the operator says nothing")?;
        cli::repoint(node, &["policy", "delete", "shop/db"])?;
        pair.ensure(true, "without policies")?;
        apply(node, &policy("shop", "db", TO_DB))?;
        pair.ensure(true, "with the policy again")?;
        let listed: Vec<Value> = cli::query(node, &["policy", "list"])?;
        ensure!(listed[0]["functions"] == 1, "{listed:?}");
        web.remove()
    })
}

/// A container without a function has labels of its own, and its slot's next one has none of them.
#[test]
fn labels_of_a_container_end_with_it() -> Result<()> {
    let shared = |configuration: &mut Value| {
        configuration["pool"] = json!({ "warm": 0, "maxSlots": 2, "scope": "tenant" });
    };
    with_database(shared, |node, network, database| {
        let of_tenant = "repoint.dev/tenant=shop";
        let start = |name: &str, labels: &str| {
            let args = format!("{of_tenant}{labels}");
            Container::add_with(network, name, |attachment| attachment.args(&args))
        };
        let one = start("one", ";repoint.dev/labels=app=web")?;
        Pair::new(&one, database)?.ensure(true, "with the label")?;
        let slot = cli::slot_of(node, "one")?.slot;
        one.remove()?;
        let next = start("next", "")?;
        ensure!(cli::slot_of(node, "next")?.slot == slot, "it has another slot");
        Pair::new(&next, database)?.ensure(false, "the next container")?;
        ensure_clean(node)?;
        next.remove()
    })
}

/// A pod labels itself only where the network's configuration lets it.
#[test]
fn pods_label_themselves_only_where_the_network_allows_it() -> Result<()> {
    let annotations = || json!({ "repoint.dev/labels": "app=web" });
    with_database(pooled, |node, _, database| {
        let annotated = |listed: Value| {
            network(node, "net", 7, |configuration| {
                pool(configuration, true);
                configuration["capabilities"] = json!({ ANNOTATIONS: true });
                configuration["pool"]["annotations"] = listed;
            })
        };
        let closed = annotated(json!(["repoint.dev/function"]))?;
        let netns = Netns::create("refused")?;
        let pod = Attachment::new("refused", netns.path()).args(&user("shop", "web"));
        let pod = pod.capability(ANNOTATIONS, annotations());
        let refused = closed.call_single("ADD", &pod, None)?.error()?;
        let said = format!("{} {}", refused.msg, refused.details);
        let wanted = "annotation repoint.dev/labels=app=web is not allowed in this network";
        ensure!(said.contains(wanted) && said.contains("pool.annotations"), "{said}");
        closed.del(&pod, None)?;
        netns.remove()?;
        let open = annotated(json!(["repoint.dev/labels"]))?;
        let web = Container::add_with(&open, "web", |pod| {
            pod.args(&user("shop", "web")).capability(ANNOTATIONS, annotations())
        })?;
        Pair::new(&web, database)?.ensure(true, "a pod that may label itself")?;
        web.remove()
    })
}
