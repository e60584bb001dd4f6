//! `repoint tenants` and `repoint evict`.

use repoint::{
    conf::Directories,
    model::Tenant,
    node::Node,
    retire::{Evicted, end_lingering},
    store::Lingering,
};
use serde::Serialize;

use crate::{
    node,
    output::{CommandError, json, said, table},
};

/// A tenant of a network, as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    network: String,
    tenant: String,
    /// Slots in all states, and namespaces that live on without one.
    slots: u32,
    /// How many of them are namespaces that live on without one.
    lingering: usize,
}

/// Lists the tenants that have slots.
pub(crate) fn list(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let rows = rows(&node::open(directories)?)?;
    if as_json {
        return json(&rows);
    }
    table(
        ["NETWORK", "TENANT", "SLOTS", "LINGERING"],
        rows.into_iter()
            .map(|row| [row.network, row.tenant, row.slots.to_string(), row.lingering.to_string()]),
    )
}

fn rows(node: &Node) -> Result<Vec<Row>, CommandError> {
    // What is gone by now is not listed.
    end_lingering(node)?;
    let (tenants, lingering) = (node.tenants()?, node.lingering()?);
    let rows = tenants.into_iter().map(|(network, tenant, slots)| {
        let is_its = |one: &&Lingering| one.network == network && one.tenant == tenant;
        let lingering = lingering.iter().filter(is_its).count();
        Row { network: network.into(), tenant: tenant.into(), slots, lingering }
    });
    Ok(rows.collect())
}

/// Makes sure that no container gets what a tenant had until now.
pub(crate) fn evict(directories: &Directories, tenant: &Tenant) -> Result<(), CommandError> {
    let node = node::open(directories)?;
    let known = node.tenants()?;
    if !known.iter().any(|(_, known, _)| known == tenant) {
        return Err(CommandError::NoTenant { tenant: tenant.clone() });
    }
    let Evicted { deleted, in_use } = node.evict(tenant)?;
    said(&format!(
        "deleted {deleted} slots of tenant {tenant}; {in_use} in use are deleted when they come back"
    ))
}
