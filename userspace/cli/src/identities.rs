//! `repoint identities`.

use std::collections::HashMap;

use repoint::{
    conf::Directories,
    store::{IdentityRecord, Slot},
};
use repoint_policy::Labels;
use serde::Serialize;

use crate::{
    node,
    output::{CommandError, json, table},
};

/// An identity as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// The number in the maps.
    identity: u32,
    /// The number of its tenant; 0: none.
    tenant_number: u32,
    network: String,
    tenant: Option<String>,
    /// None: a single container.
    function: Option<String>,
    /// Labels that a start gave.
    labels: Labels,
    /// The slots that have it or had it last.
    slots: Vec<String>,
}

impl Row {
    fn of_function(record: &IdentityRecord, slots: Vec<String>, labels: Labels) -> Self {
        let IdentityRecord { identity, tenant_number, network, tenant, function } = record;
        Self {
            identity: identity.0,
            tenant_number: tenant_number.0,
            network: network.to_string(),
            tenant: tenant.as_ref().map(ToString::to_string),
            function: Some(function.to_string()),
            labels,
            slots,
        }
    }

    fn of_container(slot: &Slot, labels: Labels) -> Self {
        Self {
            identity: slot.identity.0,
            tenant_number: slot.tenant_number.0,
            network: slot.network.to_string(),
            tenant: slot.tenant.as_ref().map(ToString::to_string),
            function: None,
            labels,
            slots: vec![slot.id.to_string()],
        }
    }
}

/// Lists the identities of functions on record, and of single containers.
pub(crate) fn run(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let node = node::open(directories)?;
    let (identities, slots) = (node.identities()?, node.slots()?);
    let mut having: HashMap<u32, Vec<String>> = HashMap::new();
    for Slot { id, identity, .. } in &slots {
        having.entry(identity.0).or_default().push(id.to_string());
    }
    let functions = identities.iter().map(|record| {
        let slots = having.remove(&record.identity.0).unwrap_or_default();
        Ok(Row::of_function(record, slots, node.given_labels(record.identity)?))
    });
    let singles = slots.iter().filter(|slot| slot.identity.is_of_container());
    let singles =
        singles.map(|slot| Ok(Row::of_container(slot, node.given_labels(slot.identity)?)));
    let rows = functions.chain(singles).collect::<Result<Vec<_>, CommandError>>()?;
    if as_json {
        return json(&rows);
    }
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    table(
        ["IDENTITY", "NETWORK", "TENANT", "FUNCTION", "SLOTS"],
        rows.into_iter().map(|row| {
            let slots = row.slots.len().to_string();
            [row.identity.to_string(), row.network, text(row.tenant), text(row.function), slots]
        }),
    )
}
