//! The agent's process.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::reading::{Group, Reading, float};

/// How far the agent's memory may rise, percent of itself.
const MEMORY: f64 = 2.0;
/// How far the number of its threads may: those that have had nothing to do for ten seconds end.
const THREADS: f64 = 10.0;

/// Memory, as the kernel accounts it.
pub(super) fn memory(pid: u32) -> Result<Vec<Reading>> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // `Anonymous` is what it allocated and wrote to, stacks included: its executable is static.
    [("resident", "Rss"), ("proportional", "Pss"), ("heap", "Anonymous")]
        .into_iter()
        .map(|(name, key)| {
            let kibibytes = field(&text, key).with_context(|| format!("no {key} in {path}"))?;
            let name = format!("agent, {name} memory");
            Ok(Reading::level(Group::Agent, name, (kibibytes, "KiB"), MEMORY))
        })
        .collect()
}

/// Its threads.
pub(super) fn threads(pid: u32) -> Result<Reading> {
    let count = entries(Path::new(&format!("/proc/{pid}/task")))?;
    Ok(Reading::level(Group::Agent, "agent, threads", (float(count), ""), THREADS))
}

/// Its open descriptors.
pub(super) fn descriptors(pid: u32) -> Result<Reading> {
    let count = entries(Path::new(&format!("/proc/{pid}/fd")))?;
    Ok(Reading::exact(Group::Agent, "agent, descriptors", count))
}

fn entries(folder: &Path) -> Result<usize> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    Ok(entries.count())
}

/// The figure of a line `key: figure kB`.
pub(super) fn field(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
