//! A DEL that is held up, and others who do their work meanwhile.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use repoint_tests::{
    Agent,
    traffic::Host,
    wait,
    web::{self, Server},
    with_pool,
};
use serde_json::json;

use crate::both;

/// How long a DEL may take to come to where it is held up.
const SOON: Duration = Duration::from_secs(10);

/// Sweeps come while it is half-way. Nothing passes when it returns, though a process is inside still.
#[test]
fn nothing_passes_after_a_del_that_sweeps_saw_half_way() -> Result<()> {
    with_pool(&json!({ "warm": 1, "maxSlots": 4 }), |pooled| {
        let agent = pooled.agent()?;
        let container = pooled.add()?;
        let addresses = container.addresses()?;
        let server = Server::start(&container.host()?)?;
        let here = Host::here("node")?;
        server.answers(&here, &addresses)?;
        let path = container.netns().path();
        let namespace = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let inode = namespace.metadata().context("look at a namespace")?.ino();
        let lock = Flock::lock(namespace, FlockArg::LockExclusiveNonblock);
        let lock = lock.map_err(|(_, errno)| errno).context("lock a namespace")?;
        both(
            || container.delete(),
            || {
                wait::until(SOON, "DEL waits", || waits(inode))?;
                print!("{}", pooled.repoint(&["sweep", "--grace", "0s"])?);
                drop(lock);
                Ok(())
            },
        )?;
        web::silent(&[&here], &addresses)?;
        drop(server);
        container.remove_netns()?;
        pooled.wait_until("the slot is warm again", |pool| pool.warm == pool.total)?;
        Agent::stop(agent)
    })
}

/// Fails unless somebody waits for the lock on a file.
fn waits(inode: u64) -> Result<()> {
    let locks = fs::read_to_string("/proc/locks").context("read /proc/locks")?;
    let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&format!(":{inode} "));
    ensure!(locks.lines().any(waits), "nobody waits: {locks}");
    Ok(())
}
