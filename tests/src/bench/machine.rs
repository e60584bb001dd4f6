//! Where it was measured.

use std::{fs, path::Path, process::Command, thread};

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_getres};
use serde::Serialize;

use crate::{command, dist::REFERENCE_PLUGINS};

/// Facts that the figures depend on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Release of the kernel.
    pub kernel: String,
    /// The kernel's `CONFIG_HZ`: a grace period, which a link's deletion waits for, is some ticks.
    pub hz: u64,
    /// Name of the processor.
    pub processor: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Processes that wanted to run in the minute before: a figure well above 0 means company.
    pub load_average: f64,
    /// Version of ours.
    pub repoint: &'static str,
    /// Version of the reference plugins.
    pub reference_plugins: String,
    /// Version of iptables, with which they masquerade.
    pub iptables: String,
}

impl Machine {
    /// Facts of this machine.
    pub fn here() -> Result<Self> {
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            hz: hz()?,
            processor: field("/proc/cpuinfo", "model name")?,
            cpus: thread::available_parallelism().context("count the CPUs")?.get(),
            memory_mib: memory_mib()?,
            load_average: load_average()?,
            repoint: env!("CARGO_PKG_VERSION"),
            reference_plugins: reference_plugins()?,
            iptables: command::run("iptables", ["--version"])?.trim().to_owned(),
        })
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

/// The value of `name : value` in a file below /proc.
fn field(path: &str, name: &str) -> Result<String> {
    read(path)?
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'))
        .map(|value| value.trim().to_owned())
        .with_context(|| format!("no {name} in {path}"))
}

/// The coarse clocks advance by one tick.
fn hz() -> Result<u64> {
    let clock = ClockId::CLOCK_MONOTONIC_COARSE;
    let tick = clock_getres(clock).context("clock_getres(CLOCK_MONOTONIC_COARSE)")?;
    let nanoseconds = u64::try_from(tick.tv_nsec())?;
    1_000_000_000_u64.checked_div(nanoseconds).context("a tick of no length")
}

fn memory_mib() -> Result<u64> {
    let total = field("/proc/meminfo", "MemTotal")?;
    let kib: u64 =
        total.trim_end_matches(" kB").parse().with_context(|| format!("MemTotal {total:?}"))?;
    Ok(kib / 1024)
}

fn load_average() -> Result<f64> {
    let averages = read("/proc/loadavg")?;
    let minute = averages.split(' ').next().unwrap_or_default();
    minute.parse().with_context(|| format!("/proc/loadavg {averages:?}"))
}

/// As the package manager has it; where that does not know them, as `ptp` does.
fn reference_plugins() -> Result<String> {
    let query = ["--show", "--showformat=${Package} ${Version}", "containernetworking-plugins"];
    if let Ok(version) = command::run("dpkg-query", query) {
        return Ok(version);
    }
    let mut ptp = Command::new(Path::new(REFERENCE_PLUGINS).join("ptp"));
    let output = command::output_with_input(ptp.env_remove("CNI_COMMAND"), b"")?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(said.lines().next().unwrap_or_default().to_owned())
}
