//! `repoint slots`.

use repoint::{
    conf::Directories,
    model::{Decision, Hook, Isolation, LinkLocal, LocalPath},
    retire::holders,
    store::{Slot, SlotState},
};
use serde::Serialize;

use crate::{
    node,
    output::{CommandError, json, table},
};

/// A slot as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    slot: String,
    state: String,
    network: String,
    container: Option<String>,
    ifname: String,
    host_ifname: String,
    mac: String,
    addresses: Vec<String>,
    /// The number in the maps of its function or container; 0: no container has had it.
    identity: u32,
    /// The number in the maps of its tenant; 0: none.
    tenant_number: u32,
    netns: Option<String>,
    netns_inode: Option<u64>,
    masquerade: bool,
    link_local: LinkLocal,
    /// Key `localPath`.
    local_path: LocalPath,
    /// Key `hook`.
    hook: Hook,
    /// Key `isolation`.
    isolation: Isolation,
    ipam: Option<String>,
    function: Option<String>,
    tenant: Option<String>,
    /// The stored template that it was made from.
    template: Option<String>,
    /// Digest of the template, stored or not; none: the slot is still being built direct.
    template_digest: Option<String>,
    mode: &'static str,
    /// The trust domain of its namespace; none: no container has had it.
    domain: Option<String>,
    /// What still uses the namespace of a slot that came back, so that it is not ready.
    held_by: Option<String>,
    /// What was decided about its last user, and why.
    decision: Option<Decision>,
    /// Nanoseconds since the boot, suspension included (`CLOCK_BOOTTIME`).
    created: u64,
    /// Likewise.
    changed: u64,
}

impl From<Slot> for Row {
    fn from(slot: Slot) -> Self {
        Self {
            slot: slot.id.to_string(),
            state: slot.state().to_string(),
            network: slot.network.to_string(),
            container: slot.container.map(Into::into),
            ifname: slot.ifname.to_string(),
            host_ifname: slot.id.host_ifname(),
            mac: slot.mac.to_string(),
            addresses: slot.addresses.iter().map(ToString::to_string).collect(),
            identity: slot.identity.0,
            tenant_number: slot.tenant_number.0,
            netns: slot.netns_path.map(|path| path.display().to_string()),
            netns_inode: slot.netns.map(|netns| netns.inode),
            masquerade: slot.masquerade,
            link_local: slot.link_local,
            local_path: slot.local_path,
            hook: slot.hook,
            isolation: slot.isolation,
            ipam: slot.ipam.map(|plugin| plugin.to_string()),
            function: slot.function.map(Into::into),
            tenant: slot.tenant.map(Into::into),
            template: slot.template_name.map(Into::into),
            template_digest: slot.template.map(|digest| digest.to_string()),
            mode: slot.mode.name(),
            domain: slot.domain.map(|domain| domain.to_string()),
            held_by: None,
            decision: slot.decision,
            created: slot.created,
            changed: slot.changed,
        }
    }
}

/// Lists the slots on record.
pub(crate) fn run(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let node = node::open(directories)?;
    let slots = node.slots()?;
    let is_back = |slot: &&Slot| slot.state() == SlotState::Dirty && slot.container.is_none();
    let back: Vec<Slot> = slots.iter().filter(is_back).cloned().collect();
    let mut held = holders(&node, &back)?;
    let rows = slots.into_iter().map(|slot| {
        let held_by = held.remove(&slot.id).map(|user| user.to_string());
        Row { held_by, ..Row::from(slot) }
    });
    if as_json {
        return json(&rows.collect::<Vec<_>>());
    }
    table(
        ["SLOT", "STATE", "NETWORK", "CONTAINER", "SERVED", "INTERFACE", "ADDRESSES", "HELD BY"],
        rows.map(|row| {
            let container = row.container.unwrap_or_else(|| "-".to_owned());
            let served = row.decision.map_or("-", |decision| decision.served.name()).to_owned();
            let addresses = row.addresses.join(" ");
            let held_by = row.held_by.unwrap_or_else(|| "-".to_owned());
            [row.slot, row.state, row.network, container, served, row.ifname, addresses, held_by]
        }),
    )
}
