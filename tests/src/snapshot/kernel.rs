//! What the kernel knows of the calling thread's network and mount namespace.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{command, node::has_ipv6};

/// Interfaces with their addresses.
pub(super) fn interfaces() -> Result<BTreeSet<String>> {
    let transient = ["operstate", "flags", "tentative", "valid_life_time", "preferred_life_time"];
    facts("ip", &["-json", "-details", "address", "show"], &transient)
}

/// Routes of all tables.
pub(super) fn routes() -> Result<BTreeSet<String>> {
    // A router has a subnet's anycast address; a node becomes one with its first container.
    let anycast = |route: &String| route.contains(r#""type":"anycast""#);
    let mut routes = both_families(&["route", "show", "table", "all"])?;
    routes.retain(|route| !anycast(route));
    // The kernel learns of a link's state from a work queue (`linkwatch`), late on a busy machine.
    let settled =
        |route: &String| route.replace(r#"["linkdown"]"#, "[]").replace(r#","linkdown""#, "");
    Ok(routes.iter().map(settled).collect())
}

/// Rules of policy routing.
pub(super) fn rules() -> Result<BTreeSet<String>> {
    both_families(&["rule", "show"])
}

/// Neighbours that were set, and not learnt.
pub(super) fn neighbours() -> Result<BTreeSet<String>> {
    facts("ip", &["-json", "neighbour", "show", "nud", "permanent"], &[])
}

/// All tables, chains, rules and sets: those of `iptables-nft` and ours.
pub(super) fn nftables() -> Result<BTreeSet<String>> {
    let document = json("nft", &["--json", "list", "ruleset"])?;
    let objects = document["nftables"].as_array().context("nft printed no list")?;
    Ok(objects
        .iter()
        .filter(|object| object.get("metainfo").is_none())
        .map(|object| without(object, &["handle", "packets", "bytes"]).to_string())
        .collect())
}

/// Queueing disciplines, clsact among them.
pub(super) fn qdiscs() -> Result<BTreeSet<String>> {
    facts("tc", &["-json", "qdisc", "show"], &["refcnt"])
}

/// Filters on either side of every interface.
pub(super) fn filters() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let links = json("ip", &["-json", "link", "show"])?;
    for name in links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str()) {
        for side in ["ingress", "egress"] {
            // Text, because tc 6.1 prints no valid JSON where there is a u32 filter.
            let text = command::run("tc", ["filter", "show", "dev", name, side])?;
            found.extend(text.lines().map(|line| format!("{name} {side}: {}", line.trim())));
        }
    }
    Ok(found)
}

/// Mounts, by root, mount point and type, but for the BPF file system. Of a mount namespace's file
/// the number is left out: one is as good as the next.
pub(super) fn mounts() -> Result<BTreeSet<String>> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").context("read mountinfo")?;
    let mut found = BTreeSet::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let mut after_separator = fields.iter().skip_while(|field| **field != "-").skip(1);
        let kind = after_separator.next().context("a line of mountinfo has no type")?;
        if *kind != "bpf" {
            let root = if fields[3].starts_with("mnt:[") { "mnt" } else { fields[3] };
            found.insert(format!("{kind} {root} at {}", fields[4]));
        }
    }
    Ok(found)
}

fn both_families(arguments: &[&str]) -> Result<BTreeSet<String>> {
    let of = |family| facts("ip", &[&["-json", family], arguments].concat(), &["expires"]);
    let mut found = of("-4")?;
    if has_ipv6() {
        found.extend(of("-6")?);
    }
    Ok(found)
}

/// The objects of the list that a command prints, without the keys that time changes.
fn facts(program: &str, arguments: &[&str], transient: &[&str]) -> Result<BTreeSet<String>> {
    let list = json(program, arguments)?;
    let objects = list.as_array().into_iter().flatten();
    // iproute2 prints an empty object for what it filters out.
    let objects = objects.filter(|object| object.as_object().is_some_and(|keys| !keys.is_empty()));
    Ok(objects.map(|object| without(object, transient).to_string()).collect())
}

fn json(program: &str, arguments: &[&str]) -> Result<Value> {
    let text = command::run(program, arguments)?;
    if text.trim().is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_str(&text).with_context(|| format!("output of {program} {arguments:?}"))
}

fn without(value: &Value, keys: &[&str]) -> Value {
    match value {
        Value::Array(list) => list.iter().map(|element| without(element, keys)).collect(),
        Value::Object(object) => object
            .iter()
            .filter(|(key, _)| !keys.contains(&key.as_str()))
            .map(|(key, element)| (key.clone(), without(element, keys)))
            .collect(),
        other => other.clone(),
    }
}
