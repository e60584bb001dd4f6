//! Where something is asked for in more than one place, the pod's annotation counts before
//! `CNI_ARGS`, that before `args.cni`, and what the network's configuration says comes last.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{
    Container, Pooled, cli::Slot, plugin::Attachment, pooled::ANNOTATIONS, with_pool,
};
use serde_json::{Value, json};

/// What is asked for, from the weakest to the strongest, and how a slot shows it.
struct Asked {
    annotation: &'static str,
    /// What the network's configuration says: the key of its pool, and the value.
    network: Option<(&'static str, &'static str)>,
    /// What a slot shows where nobody but the network says anything.
    default: Option<&'static str>,
    /// `args.cni`, `CNI_ARGS`, annotation.
    values: [&'static str; 3],
    shown: fn(&Slot) -> Option<&str>,
}

const ASKED: [Asked; 5] = [
    Asked {
        annotation: "repoint.dev/mode",
        network: Some(("mode", "replicate")),
        default: Some("replicate"),
        values: ["reuse", "none", "replicate"],
        shown: |slot| Some(&slot.mode),
    },
    Asked {
        annotation: "repoint.dev/function",
        network: None,
        default: None,
        values: ["weak", "stronger", "strongest"],
        shown: |slot| slot.function.as_deref(),
    },
    Asked {
        annotation: "repoint.dev/tenant",
        network: None,
        default: Some("namespace"),
        values: ["weak", "stronger", "strongest"],
        shown: |slot| slot.tenant.as_deref(),
    },
    Asked {
        annotation: "repoint.dev/scope",
        network: Some(("scope", "network")),
        default: Some("network"),
        values: ["tenant", "function", "tenant"],
        // No function is named: under scope function, a container's domain is its own.
        shown: |slot| match slot.domain.as_deref()? {
            "one container" => Some("function"),
            "tenant namespace" => Some("tenant"),
            "the network" => Some("network"),
            other => Some(other),
        },
    },
    Asked {
        annotation: "repoint.dev/template",
        network: Some(("template", "default")),
        default: Some("default"),
        values: ["weak", "stronger", "strongest"],
        shown: |slot| slot.template.as_deref(),
    },
];

/// ADDs a container with the first `places` of the three places saying something, and gives the slot
/// that it had.
fn served(pooled: &Pooled<'_>, asked: &Asked, places: [bool; 3]) -> Result<Slot> {
    let Asked { annotation, network, values: [cni, args, pod], .. } = asked;
    let mut pool = json!({ "warm": 0, "maxSlots": 64, "annotations": [annotation] });
    pool["templates"] = json!(["weak", "stronger", "strongest"]);
    if let Some((key, value)) = network {
        pool[key] = json!(value);
    }
    let network = pooled.network_with(|configuration| {
        configuration["pool"] = pool;
        if places[0] {
            configuration["args"] = json!({ "cni": { *annotation: cni } });
        }
    })?;
    let name = pooled.name();
    let container = Container::add_with(&network, &name, |own| {
        let mut words =
            vec!["IgnoreUnknown=1".to_owned(), "K8S_POD_NAMESPACE=namespace".to_owned()];
        words.extend(places[1].then(|| format!("{annotation}={args}")));
        let own = own.args(&words.join(";"));
        if places[2] { own.capability(ANNOTATIONS, json!({ *annotation: pod })) } else { own }
    })?;
    let slot = pooled.slot_of(&container)?;
    container.check()?;
    container.remove()?;
    Ok(slot)
}

/// Each of the eight ways to say it in some places and not in others.
fn places() -> impl Iterator<Item = [bool; 3]> {
    (0..8).map(|number| [0, 1, 2].map(|place| number & (1 << place) != 0))
}

/// Makes a template of each name that is asked for, each another.
fn make_templates(pooled: &Pooled<'_>) -> Result<()> {
    for (mtu, name) in (1400..).zip(["default", "weak", "stronger", "strongest"]) {
        let network = pooled.network_with(|configuration| configuration["mtu"] = json!(mtu))?;
        let asked =
            Attachment::new("", Path::new("")).args(&format!("repoint.dev/template={name}"));
        network.call_single("REPLICATE", &asked, None)?.success()?;
    }
    Ok(())
}

#[test]
fn the_strongest_place_counts() -> Result<()> {
    with_pool(&Value::Object(serde_json::Map::new()), |pooled| {
        make_templates(pooled)?;
        for asked in &ASKED {
            for places in places() {
                let slot = served(pooled, asked, places)
                    .with_context(|| format!("{} in {places:?}", asked.annotation))?;
                let strongest = (0..3).rev().find(|place| places[*place]);
                let expected = strongest.map_or(asked.default, |place| Some(asked.values[place]));
                let found = (asked.shown)(&slot);
                println!("{} in {places:?}: {found:?}", asked.annotation);
                ensure!(
                    found == expected,
                    "{} in {places:?}: {found:?}, not {expected:?}",
                    asked.annotation
                );
            }
        }
        Ok(())
    })
}

/// An annotation that is not allowed is refused, whatever the node says of it; what the node says
/// counts where the pod says the same.
#[test]
fn what_the_node_says_is_not_overruled_by_what_is_not_allowed() -> Result<()> {
    with_pool(&json!({ "warm": 0, "maxSlots": 8, "annotations": [] }), |pooled| {
        let pod = |mode: &str| {
            pooled.add_with(|own| {
                own.args("repoint.dev/mode=replicate")
                    .capability(ANNOTATIONS, json!({ "repoint.dev/mode": mode }))
            })
        };
        let refusal = pod("reuse").err().context("served against the network's word")?;
        let said = format!("{refusal:#}");
        println!("{said}");
        ensure!(said.contains("repoint.dev/mode=reuse is not allowed"), "{said}");
        let same = pod("replicate")?;
        ensure!(pooled.slot_of(&same)?.mode == "replicate");
        same.remove()
    })
}
