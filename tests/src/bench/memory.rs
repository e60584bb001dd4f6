//! Memory of the machine.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::wait;

/// Readings in a row that must be alike.
const ALIKE: usize = 10;
/// How far they may be apart, KiB: another process's affair.
const NOISE: u64 = 4096;

/// What `/proc/meminfo` says, KiB.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// Memory that processes could have: `MemAvailable`.
    pub available: u64,
    /// What the kernel uses for itself: `Slab`, `Percpu`, `VmallocUsed`, `KernelStack` and
    /// `PageTables` together.
    pub kernel: u64,
}

impl Memory {
    fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
            number.with_context(|| format!("no {name} in /proc/meminfo"))
        };
        let kernel = ["Slab", "Percpu", "VmallocUsed", "KernelStack", "PageTables"].map(of);
        let kernel: Vec<u64> = kernel.into_iter().collect::<Result<_>>()?;
        Ok(Self { available: of("MemAvailable")?, kernel: kernel.iter().sum() })
    }

    /// Reads until it changes no more: the kernel frees much of what is closed later. What it keeps
    /// of what was looked at, directory entries and inodes, is dropped first: it gives that back
    /// when memory is asked for.
    pub fn settled() -> Result<Self> {
        fs::write("/proc/sys/vm/drop_caches", "2").context("drop directory entries and inodes")?;
        let mut alike: Vec<Self> = Vec::new();
        wait::until(Duration::from_mins(1), "memory settles", || {
            let now = Self::read()?;
            alike.retain(|before| before.available.abs_diff(now.available) <= NOISE);
            alike.push(now);
            ensure!(alike.len() > ALIKE, "{alike:?}");
            Ok(now)
        })
    }
}
