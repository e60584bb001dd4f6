//! Pinned maps, as bpftool shows them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{command, folder};

/// A pinned map.
#[derive(Debug)]
pub struct Map {
    pin: PathBuf,
    kind: String,
    memory: u64,
}

/// The maps that are pinned below the plugin's `bpfDir`, whose folders are versions of the layout;
/// none when nothing is loaded.
pub fn maps(bpf_dir: &Path) -> Result<Vec<Map>> {
    let mut found = Vec::new();
    for version in folder::names(bpf_dir)? {
        let version = bpf_dir.join(version);
        for name in folder::names(&version)? {
            found.extend(map(version.join(name))?);
        }
    }
    Ok(found)
}

impl Map {
    /// Its pin.
    #[must_use]
    pub fn pin(&self) -> &Path {
        &self.pin
    }

    /// Whether user space makes its entries and removes them. An array has as many as it was made
    /// for, and those of an LRU hash are counters, which only others push out.
    #[must_use]
    pub fn is_hash(&self) -> bool {
        matches!(self.kind.as_str(), "hash" | "lpm_trie")
    }

    /// Memory that the kernel accounts to it, bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Its entries, with named fields.
    pub fn entries(&self) -> Result<Vec<Value>> {
        let text = bpftool(&["map", "dump", "pinned"], &self.pin)?;
        let entries: Vec<Value> = serde_json::from_str(&text)
            .with_context(|| format!("dump of {}", self.pin.display()))?;
        // Beside the bytes there is the form that BTF gives them, which is the one to read.
        let formatted = |entry: Value| entry.get("formatted").cloned().unwrap_or(entry);
        Ok(entries.into_iter().map(formatted).collect())
    }
}

/// The pin's map; none when a program is pinned there. bpftool does not show what a pin is, and
/// fails when asked for the wrong kind.
fn map(pin: PathBuf) -> Result<Option<Map>> {
    let Ok(text) = bpftool(&["map", "show", "pinned"], &pin) else {
        return bpftool(&["prog", "show", "pinned"], &pin).map(|_| None);
    };
    let map: Value =
        serde_json::from_str(&text).with_context(|| format!("description of {}", pin.display()))?;
    let kind = map["type"].as_str().context("a map has no type")?.to_owned();
    let memory = map["bytes_memlock"].as_u64().context("a map has no memory")?;
    Ok(Some(Map { pin, kind, memory }))
}

fn bpftool(arguments: &[&str], pin: &Path) -> Result<String> {
    let pin = pin.to_string_lossy();
    command::run("bpftool", [&["--json"], arguments, &[&pin]].concat())
}
