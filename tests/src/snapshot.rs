//! The whole state of a node, comparable: "afterwards nothing is left" is an equality of snapshots.
//!
//! A snapshot is a set of facts by kind, each a line that a person can read. It leaves out what time
//! alone changes (counters, learned neighbours, lifetimes), and what belongs to the node as a whole and
//! not to any attachment: the BPF file system, programs and empty maps, the database.

mod kernel;
mod whole;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{command, dist, folder, node::Dirs, pins, wait};

/// Longest wait for the kernel to take down ended namespaces. It does so, and removes their links, some
/// time after their last user.
const SETTLING: Duration = Duration::from_secs(15);

/// What was seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<&'static str, BTreeSet<String>>);

impl Snapshot {
    /// Looks at the calling thread's namespaces and the plugin's folders in them.
    pub fn take(dirs: &Dirs) -> Result<Self> {
        Ok(Self(BTreeMap::from([
            ("interface", kernel::interfaces()?),
            ("route", kernel::routes()?),
            ("rule", kernel::rules()?),
            ("permanent neighbour", kernel::neighbours()?),
            ("nftables object", kernel::nftables()?),
            ("qdisc", kernel::qdiscs()?),
            ("filter", kernel::filters()?),
            ("mount", kernel::mounts()?),
            ("named namespace", folder::names(Path::new(crate::netns::FOLDER))?),
            ("map entry", map_entries(&dirs.bpf)?),
            ("record", records(dirs)?),
            ("allocated address", addresses(Path::new("/var/lib/cni/networks"))?),
            // libcni's, in its old and its new place.
            ("result", folder::names(Path::new("/var/lib/cni/results"))?),
            ("cached result", folder::names(Path::new("/var/lib/cni/cache/results"))?),
        ])))
    }

    /// Like [`Self::take`], with all else that repoint may leave on a node. That includes what belongs to
    /// the node as a whole: the namespace store, pins, files, every record of the database, sysctls and
    /// processes. For nodes on which nothing is meant to happen meanwhile.
    pub fn take_whole(dirs: &Dirs) -> Result<Self> {
        let mut snapshot = Self::take(dirs)?;
        snapshot.0.extend(whole::facts(dirs)?);
        Ok(snapshot)
    }

    /// The same without the facts of a kind.
    #[must_use]
    pub fn without(mut self, kind: &str) -> Self {
        self.0.remove(kind);
        self
    }

    /// Waits until the calling thread's namespaces are as they were; fails with what is left, and
    /// what is gone, when they are not within some seconds.
    pub fn wait_until_restored(&self, dirs: &Dirs) -> Result<()> {
        self.wait_until_as(|| Self::take(dirs))
    }

    /// The same of all that [`Self::take_whole`] shows.
    pub fn wait_until_whole(&self, dirs: &Dirs) -> Result<()> {
        self.wait_until_as(|| Self::take_whole(dirs))
    }

    fn wait_until_as(&self, take: impl Fn() -> Result<Self>) -> Result<()> {
        wait::until(SETTLING, "everything is as before", || {
            let difference = self.difference(&take()?);
            if difference.is_empty() { Ok(()) } else { bail!("{difference}") }
        })
    }

    /// What only one of this snapshot and `later` has, a line each; empty if they are equal.
    #[must_use]
    pub fn difference(&self, later: &Self) -> String {
        let mut text = String::new();
        for (kind, before) in &self.0 {
            let Some(after) = later.0.get(kind) else {
                continue;
            };
            for fact in after.difference(before) {
                let _ = writeln!(text, "left: {kind} {fact}");
            }
            for fact in before.difference(after) {
                let _ = writeln!(text, "gone: {kind} {fact}");
            }
        }
        text
    }
}

/// Entries of the pinned maps that are not arrays.
fn map_entries(bpf_dir: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for map in pins::maps(bpf_dir)?.iter().filter(|map| map.is_hash()) {
        let name = map.pin().file_name().unwrap_or_default().to_string_lossy();
        found.extend(map.entries()?.iter().map(|entry| format!("{name}: {entry}")));
    }
    Ok(found)
}

/// Slots of the database, as the CLI lists them; none where it has not been built.
fn records(dirs: &Dirs) -> Result<BTreeSet<String>> {
    let cli = dist::cli();
    if !cli.exists() {
        return Ok(BTreeSet::new());
    }
    // Before the first container, which `repoint slots` reports.
    if !dirs.has_database() {
        return Ok(BTreeSet::new());
    }
    let arguments = [&dirs.arguments()[..], &["slots".into(), "--json".into()]].concat();
    let text = command::run(&cli.to_string_lossy(), arguments)?;
    let mut slots: Vec<Value> = serde_json::from_str(&text).context("output of `repoint slots`")?;
    for slot in slots.iter_mut().filter_map(Value::as_object_mut) {
        // The CLI computes times of day from the boot's clock at each call, some microseconds apart; and
        // what holds a slot is no record.
        slot.retain(|key, _| !["changed", "created", "heldBy"].contains(&key.as_str()));
    }
    Ok(slots.iter().map(ToString::to_string).collect())
}

/// host-local's reservations, `<network>/<address>`: a file each, beside files of its own.
fn addresses(reservations: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for network in folder::names(reservations)? {
        let files = folder::names(&reservations.join(&network))?;
        let reserved = files.iter().filter(|name| name.parse::<std::net::IpAddr>().is_ok());
        found.extend(reserved.map(|address| format!("{network}/{address}")));
    }
    Ok(found)
}
