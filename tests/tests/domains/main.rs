//! Trust domains: whose containers follow each other in one namespace, and whose never do, whatever
//! becomes of the network, the tenant, or the processes of the node.
#![cfg(test)]

mod eviction;
mod failed;
mod limits;
mod narrowing;
mod sequences;

use anyhow::{Context as _, Result, ensure};
use repoint_tests::{Container, Pooled, cli, plugin::CniError};

/// The project's code of a tenant that has as many slots as it may have.
const TENANT_FULL: u32 = 107;

/// Fails unless the error has this code and its text holds all of these.
fn ensure_says(error: &CniError, code: u32, parts: &[&str]) -> Result<()> {
    let said = format!("{} {}", error.msg, error.details);
    ensure!(error.code == code, "code {}, not {code}: {said}", error.code);
    for part in parts {
        ensure!(said.contains(part), "{part:?} is not in {said:?}");
    }
    Ok(())
}

/// Starts a container, stops it when its slot was looked at, and gives its slot's number and its
/// namespace's cookie. The slot waits, then.
fn leave(pooled: &Pooled<'_>, container: Container<'_>) -> Result<(String, u64)> {
    let (slot, cookie) = (pooled.slot_of(&container)?.slot, container.netns().cookie()?);
    container.remove()?;
    pooled.wait_for_slot(&slot, &["parked"])?;
    Ok((slot, cookie))
}

/// What `repoint tenants` shows of a tenant of the pool's network: its slots, and how many of them
/// are namespaces without a slot.
fn charged(pooled: &Pooled<'_>, tenant: &str) -> Result<(u32, u32)> {
    let tenants = cli::tenants(pooled.node())?;
    let network = pooled.network().name();
    let found = tenants.iter().find(|one| one.tenant == tenant && one.network == network);
    Ok(found.map_or((0, 0), |one| (one.slots, one.lingering)))
}

/// The cookie of a running container's namespace.
fn cookie(container: &Container<'_>) -> Result<u64> {
    container.netns().cookie().with_context(|| container.attachment().container_id.clone())
}
