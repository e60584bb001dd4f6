//! Memory of the machine's kernel. Others on the machine have their part in it.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use super::{
    process::field,
    reading::{Group, Reading},
};

/// How far the kernel's memory may rise, percent of itself.
const MEMORY: f64 = 2.0;
/// How far its stacks may: each thread of the machine has one, not only ours.
const STACKS: f64 = 10.0;
const OPEN_FILES: &str = "/proc/sys/fs/file-nr";
const SLABS: &str = "/proc/slabinfo";

/// Memory by what it is for, and open files. Directory entries and inodes that the kernel keeps until
/// memory is asked for are dropped before.
pub(super) fn readings() -> Result<Vec<Reading>> {
    fs::write("/proc/sys/vm/drop_caches", "2").context("drop directory entries and inodes")?;
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let memory = |(name, key)| {
        let kibibytes = field(&text, key).with_context(|| format!("no {key} in /proc/meminfo"))?;
        let bound = if key == "KernelStack" { STACKS } else { MEMORY };
        Ok(Reading::level(Group::Kernel, name, (kibibytes, "KiB"), bound))
    };
    let keys = [
        ("slab", "Slab"),
        ("slab, not reclaimable", "SUnreclaim"),
        ("per-CPU memory", "Percpu"),
        ("vmalloc", "VmallocUsed"),
        ("kernel stacks", "KernelStack"),
    ];
    let mut readings = keys.into_iter().map(memory).collect::<Result<Vec<_>>>()?;
    readings.push(open_files()?);
    Ok(readings)
}

/// Open files of all processes.
fn open_files() -> Result<Reading> {
    let text = fs::read_to_string(OPEN_FILES).with_context(|| format!("read {OPEN_FILES}"))?;
    let count = text.split_ascii_whitespace().next().and_then(|number| number.parse().ok());
    let count = count.with_context(|| format!("{OPEN_FILES}: {text:?}"))?;
    Ok(Reading::level(Group::Kernel, "open files", (count, ""), MEMORY))
}

/// KiB of the objects in use of every slab cache (slabinfo(5)).
pub(super) fn caches() -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(SLABS).with_context(|| format!("read {SLABS}"))?;
    let cache = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?.to_owned();
        let objects: f64 = fields.next()?.parse().ok()?;
        let bytes: f64 = fields.nth(1)?.parse().ok()?;
        Some((name, objects * bytes / 1024.0))
    };
    // Two lines say what the columns are.
    Ok(text.lines().skip(2).filter_map(cache).collect())
}
