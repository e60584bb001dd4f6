//! Two nodes that have nothing in common: a template made on one gives working endpoints on the
//! other, with that node's own values.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use repoint_tests::{
    Container, Pooled,
    cli::{self, Replicated, template},
    node::Uplink,
    plugin::Attachment,
    pooled::NAME,
    with_network,
};
use serde_json::{Value, json};

use crate::{CHANGES, ensure_changed, shell, talk};

/// Name of the template.
const EDGE: &str = "edge";

/// A node, and what the other's endpoints must not have of it.
struct Place {
    uplink: Uplink,
    /// Its network's ranges.
    ranges: [&'static str; 2],
    /// What its addresses begin with, as tools print them.
    prefixes: [&'static str; 4],
}

const FIRST: Place = Place {
    uplink: Uplink::FIRST,
    ranges: ["10.217.9.0/24", "fd00:217:9::/64"],
    prefixes: ["10.217.9.", "fd00:217:9:", "198.51.100.", "2001:db8:1:"],
};
const SECOND: Place = Place {
    uplink: Uplink::SECOND,
    ranges: ["10.99.4.0/22", "fd00:99:4::/96"],
    prefixes: ["10.99.", "fd00:99:4:", "203.0.113.", "2001:db8:2:"],
};

/// A template on its way from one node to another.
struct Exported {
    json: String,
    digest: String,
}

impl Place {
    /// Calls `test` on this node, whose pool has nothing ready.
    fn visit(&self, test: impl FnOnce(&Pooled<'_>) -> Result<()> + Send) -> Result<()> {
        let change = |configuration: &mut Value| {
            configuration["pool"] = json!({ "warm": 0, "maxSlots": 16, "templates": [EDGE] });
            let [v4, v6] = self.ranges;
            configuration["ipam"]["ranges"] = json!([[{ "subnet": v4 }], [{ "subnet": v6 }]]);
        };
        with_network(self.uplink, change, test)
    }

    fn owns(&self, address: IpAddr) -> bool {
        let text = address.to_string();
        self.prefixes[..2].iter().any(|prefix| text.starts_with(prefix))
    }
}

/// Who makes a template.
#[derive(Debug, Clone, Copy)]
enum Maker {
    Plugin,
    Cli,
}

impl Maker {
    /// Makes the template of what the network's configuration says, or of what a container has.
    fn replicate(self, pooled: &Pooled<'_>, container: Option<&str>) -> Result<String> {
        match self {
            Self::Plugin => {
                let nobody = Attachment::new(container.unwrap_or_default(), "".as_ref());
                let asked = nobody.args(&format!("repoint.dev/template={EDGE}"));
                let made = pooled.network().call_single("REPLICATE", &asked, None)?.json()?;
                let digest = made["template"]["digest"].as_str();
                Ok(digest.with_context(|| format!("no digest: {made}"))?.to_owned())
            }
            Self::Cli => {
                let of = container.map(|id| ["--container", id]);
                let words = ["replicate", EDGE, "--network", NAME];
                let words = words.into_iter().chain(of.into_iter().flatten());
                let words: Vec<&str> = words.collect();
                let made: Replicated = cli::query(pooled.node(), &words)?;
                Ok(made.digest)
            }
        }
    }
}

/// Instances of the template live on this node, and have nothing of the other.
fn instances_live(
    pooled: &Pooled<'_>,
    here: &Place,
    other: &Place,
    digest: &str,
    changed: bool,
) -> Result<()> {
    prepare(pooled, digest)?;
    let annotations = json!({ "repoint.dev/template": EDGE });
    let [one, two] = [pooled.add_annotated(&annotations)?, pooled.add_annotated(&annotations)?];
    talk(pooled, &one, &two)?;
    for container in [&one, &two] {
        container.check()?;
        is_of_its_node(pooled, container, here, digest)?;
        has_nothing_of(other, &shell(container, SHOWN)?)?;
        if changed {
            ensure_changed(container)?;
        }
    }
    has_nothing_of(other, &pooled.repoint(&["slots", "--json"])?)?;
    has_nothing_of(other, &pooled.repoint(&["endpoints", "--json"])?)?;
    [one, two].into_iter().try_for_each(Container::remove)
}

/// All that an instance's namespace holds.
const SHOWN: &str = "\
    for kind in link addr route '-6 route' 'route show table all' '-6 route show table all' neigh
    do ip -j $kind; done";

/// PREPARE of two instances.
fn prepare(pooled: &Pooled<'_>, digest: &str) -> Result<()> {
    let asked = format!("repoint.dev/template={EDGE};repoint.dev/count=2");
    let made = pooled.operate("PREPARE", &asked)?.json()?;
    let slots = made["slots"].as_array().with_context(|| format!("no slots: {made}"))?;
    ensure!(slots.len() == 2, "{made}");
    for slot in slots {
        ensure!(slot["state"] == "warm" && slot["template"] == digest, "{slot}");
    }
    Ok(())
}

/// Its slot, its addresses and its MTU are what this node gives.
fn is_of_its_node(
    pooled: &Pooled<'_>,
    container: &Container<'_>,
    here: &Place,
    digest: &str,
) -> Result<()> {
    let slot = pooled.slot_of(container)?;
    ensure!(slot.template.as_deref() == Some(EDGE), "{slot:?}");
    ensure!(slot.template_digest.as_deref() == Some(digest), "{slot:?} is not of {digest}");
    ensure!(slot.served() == "replicated", "{slot:?}");
    let addresses = container.addresses()?;
    println!("{}: {addresses:?}, slot {}", here.uplink.name, slot.slot);
    let own = addresses.iter().all(|address| here.owns(*address));
    ensure!(addresses.len() == 2 && own, "{addresses:?}");
    let links: Value = serde_json::from_str(&shell(container, "ip -j link show eth0")?)?;
    ensure!(links[0]["mtu"] == here.uplink.mtu, "{links}");
    ensure!(container.result()["interfaces"][1]["mtu"] == here.uplink.mtu, "it has another MTU");
    Ok(())
}

/// No text of this node's has a value of the other's.
fn has_nothing_of(other: &Place, text: &str) -> Result<()> {
    match other.prefixes.iter().find(|prefix| text.contains(*prefix)) {
        Some(prefix) => bail!("{prefix} of the other node is in {text}"),
        None => Ok(()),
    }
}

/// Makes a template on the first node, sees its instances live there, and takes it along.
fn made_on_the_first(maker: Maker, changed: bool) -> Result<Option<Exported>> {
    let mut exported = None;
    FIRST.visit(|pooled| {
        let source = if changed { Some(pooled.add()?) } else { None };
        let container = source.as_ref().map(|source| {
            shell(source, CHANGES)?;
            Ok::<_, anyhow::Error>(source.attachment().container_id.as_str())
        });
        let digest = maker.replicate(pooled, container.transpose()?)?;
        if changed {
            template::confirm(pooled.node(), EDGE)?;
        }
        source.map_or(Ok(()), Container::remove)?;
        instances_live(pooled, &FIRST, &SECOND, &digest, changed)?;
        let json = template::export(pooled.node(), EDGE)?;
        println!("{json}");
        has_nothing_of(&FIRST, &json)?;
        exported = Some(Exported { json, digest });
        Ok(())
    })?;
    Ok(exported)
}

/// Takes a template to the second node, and sees its instances live there.
fn lives_on_the_second(exported: &Exported, changed: bool) -> Result<()> {
    SECOND.visit(|pooled| {
        template::import(pooled.node(), EDGE, &exported.json)?;
        let listed = template::digest(pooled.node(), EDGE)?;
        ensure!(listed == exported.digest, "{listed} was imported, not {}", exported.digest);
        instances_live(pooled, &SECOND, &FIRST, &exported.digest, changed)?;
        let again: Value = serde_json::from_str(&template::export(pooled.node(), EDGE)?)?;
        let first: Value = serde_json::from_str(&exported.json)?;
        ensure!(again == first, "{again} is exported again, not {first}");
        Ok(())
    })
}

fn from_node_to_node(maker: Maker, changed: bool) -> Result<()> {
    let exported = made_on_the_first(maker, changed)?;
    exported.map_or(Ok(()), |exported| lives_on_the_second(&exported, changed))
}

#[test]
fn what_the_plugin_replicates_lives_on_another_node() -> Result<()> {
    from_node_to_node(Maker::Plugin, false)
}

#[test]
fn what_the_cli_replicates_lives_on_another_node() -> Result<()> {
    from_node_to_node(Maker::Cli, false)
}

/// A container's sysctls, routes and neighbours go along.
#[test]
fn what_a_container_set_is_set_on_another_node() -> Result<()> {
    from_node_to_node(Maker::Plugin, true)?;
    from_node_to_node(Maker::Cli, true)
}

/// The same configuration is the same template, by either maker and on either node.
#[test]
fn both_nodes_make_the_same_template_of_the_same_network() -> Result<()> {
    let mut digests = Vec::new();
    for place in [&FIRST, &SECOND] {
        for maker in [Maker::Plugin, Maker::Cli] {
            place.visit(|pooled| {
                digests.push(maker.replicate(pooled, None)?);
                Ok(())
            })?;
        }
    }
    println!("{digests:?}");
    ensure!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    Ok(())
}

/// What makes a template another.
type Spoil = fn(&mut Value);

/// What a template cannot be is refused by name, and nothing is stored.
#[test]
fn a_template_that_cannot_be_is_not_imported() -> Result<()> {
    FIRST.visit(|pooled| {
        let node = pooled.node();
        Maker::Cli.replicate(pooled, None)?;
        let good: Value = serde_json::from_str(&template::export(node, EDGE)?)?;
        let spoilt: [(Spoil, &[&str]); 4] = [
            (|json| json["operations"][1] = json!({ "operation": "frobnicate" }), &["frobnicate"]),
            (|json| json["version"] = json!(2), &["version 2"]),
            (|json| json["operations"][0]["mtu"] = json!(1300), &["digest"]),
            (|json| json["operations"] = json!([]), &["createLink"]),
        ];
        for (spoil, parts) in spoilt {
            let mut json = good.clone();
            spoil(&mut json);
            let refusal = template::import(node, "spoilt", &json.to_string());
            let refusal = refusal.err().with_context(|| format!("imported: {json}"))?;
            let said = format!("{refusal:#}");
            println!("{said}");
            for part in parts {
                ensure!(said.contains(part), "{part:?} is not in {said}");
            }
            ensure!(template::digest(node, "spoilt").is_err(), "it is stored all the same");
        }
        Ok(())
    })
}
