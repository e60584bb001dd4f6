//! Counts on a node, each the same whenever no container has a slot.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};
use repoint::netns::NetnsStore;

use super::{
    process,
    reading::{Group, Reading, float},
};
use crate::{Pooled, cli, command, netns::in_thread, pins};

/// Connections that the node's kernel keeps track of, on behalf of the masquerade rule.
const CONNECTIONS: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// Everything of a node, and of its agent, that is counted exactly.
pub(super) fn exact(pooled: &Pooled<'_>, agent: u32) -> Result<Vec<Reading>> {
    let dirs = pooled.node().dirs();
    let mut readings = vec![process::descriptors(agent)?];
    readings.extend(maps(&dirs.bpf)?);
    readings.extend(kernel()?);
    readings.extend(keeping_place(&dirs.run)?);
    let node = |name, count| Reading::exact(Group::Node, name, count);
    readings.push(node("files in runDir", files(&dirs.run)?));
    readings.push(node("slots on record", pooled.slots()?.len()));
    Ok(readings)
}

/// Connections that are kept track of: they end when their time is over.
pub(super) fn connections() -> Result<Reading> {
    let count: usize = match fs::read_to_string(CONNECTIONS) {
        Ok(text) => text.trim().parse().with_context(|| format!("{CONNECTIONS}: {text:?}"))?,
        Err(error) => return Err(error).with_context(|| format!("read {CONNECTIONS}")),
    };
    Ok(Reading::reported(Group::Node, "tracked connections", (float(count), "")))
}

/// Entries of each map that is no array, and the memory of each map.
fn maps(bpf_dir: &Path) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    for map in pins::maps(bpf_dir)? {
        let name = map.pin().file_name().unwrap_or_default().to_string_lossy();
        if map.is_hash() {
            let entries = map.entries()?.len();
            readings.push(Reading::exact(Group::Maps, format!("entries of {name}"), entries));
        }
        let bytes = usize::try_from(map.memory())?;
        let memory = Reading::exact(Group::Maps, format!("memory of {name}"), bytes);
        readings.push(Reading { unit: "bytes", ..memory });
    }
    Ok(readings)
}

/// Interfaces, namespaces that they lead to, filters, routes, neighbours and mounts.
fn kernel() -> Result<Vec<Reading>> {
    let lines = |name: &str, program: &str, arguments: &[&str]| {
        let table = command::run(program, arguments)?;
        anyhow::Ok(Reading::exact(Group::Node, name, table.lines().count()))
    };
    Ok(vec![
        lines("interfaces", "ip", &["-oneline", "link"])?,
        lines("namespaces known by number", "ip", &["netns", "list-id"])?,
        lines("qdiscs", "tc", &["qdisc", "show"])?,
        lines("routes, IPv4", "ip", &["-4", "route", "show", "table", "all"])?,
        lines("routes, IPv6", "ip", &["-6", "route", "show", "table", "all"])?,
        lines("permanent neighbours", "ip", &["neighbour", "show", "nud", "permanent"])?,
        lines("lines of nftables", "nft", &["list", "ruleset"])?,
        Reading::exact(Group::Node, "mounts", mounts()?),
    ])
}

/// Namespaces in the namespace store, and the store's mounts.
fn keeping_place(run_dir: &Path) -> Result<Vec<Reading>> {
    let (kept, mounts) = in_thread(|| {
        // The store has no /proc.
        let proc = File::open("/proc").context("open /proc")?;
        let place = NetnsStore::open_existing(run_dir)?;
        let place = place.context("there is no place where slots' namespaces are kept")?;
        let (kept, mounts) = place.enter(|inside| (inside.kept(), mounts_of(&proc)))?;
        Ok((kept?, mounts?))
    })?;
    let node = |name, count| Reading::exact(Group::Node, name, count);
    Ok(vec![
        node("namespaces kept", kept.slots.len() + kept.strange.len()),
        node("mounts where they are", mounts),
    ])
}

fn mounts() -> Result<usize> {
    mounts_of(&File::open("/proc").context("open /proc")?)
}

/// Lines of the calling thread's mount table, found from an open `/proc`.
fn mounts_of(proc: &File) -> Result<usize> {
    let table = openat(proc, "thread-self/mountinfo", OFlag::O_RDONLY, Mode::empty());
    let mut table = File::from(table.context("open mountinfo")?);
    let mut text = String::new();
    table.read_to_string(&mut text).context("read mountinfo")?;
    Ok(text.lines().count())
}

/// Files and folders below a folder.
fn files(folder: &Path) -> Result<usize> {
    let mut count = 0;
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Lock files of build permits, one for each build at a time. A file appears when so many builds
        // first run at once.
        if name.starts_with("build.") {
            continue;
        }
        count += 1;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            count += files(&entry.path())?;
        }
    }
    Ok(count)
}

/// ADDs of the pool by outcome.
pub(super) fn outcomes(pooled: &Pooled<'_>) -> Result<BTreeMap<String, u64>> {
    Ok(cli::pool(pooled.node(), pooled.network().name())?.adds)
}
