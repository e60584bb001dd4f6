//! The first sweep after a reboot that kept the database.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};

use super::process;
use crate::{Node, bench::stats::Summary, cli};

/// Reboots that are timed.
const REBOOTS: usize = 3;
/// What the kernel says the number of its boot is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Boots nodes that have the database of `node`, whose namespaces the calling thread is in, and
/// nothing of what it records.
pub(super) fn run(node: &Node, network: &str) -> Result<Summary> {
    let data = node.dirs().run.join("state/data.mdb");
    let database = fs::read(&data).with_context(|| format!("read {}", data.display()))?;
    let times: Vec<Duration> =
        (0..REBOOTS).map(|_| reboot(&database, network)).collect::<Result<_>>()?;
    Summary::of(&times).context("no reboot")
}

fn reboot(database: &[u8], network: &str) -> Result<Duration> {
    let node = Node::new()?;
    node.run(|| {
        let boot = "/run/boot";
        fs::write(boot, "11111111-2222-3333-4444-555555555555\n").context("number a boot")?;
        mount(Some(boot), BOOT, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("bind to {BOOT}"))?;
        let state = node.dirs().run.join("state");
        fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
        fs::write(state.join("data.mdb"), database).context("copy a database")?;
        let sweep = process::sweep(&node)?;
        ensure!(sweep.findings == 1, "{} findings after a reboot", sweep.findings);
        let total = cli::pool(&node, network)?.total;
        ensure!(total == 0, "{total} slots are on record after a reboot");
        Ok(sweep.wall)
    })
}
