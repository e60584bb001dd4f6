//! `repoint counters --slots`.

use std::collections::{BTreeMap, HashMap};

use repoint::{
    conf::Directories,
    datapath::{DatapathError, Maps},
    model::SlotId,
    store::Slot,
};
use repoint_common::{
    counter::{Counter, Reason},
    drops::DropKey,
};
use serde::Serialize;

use crate::{
    node,
    output::{CommandError, json, table},
};

/// State of a slot that is not on record. Slot numbers are never used again.
const DELETED: &str = "deleted";

/// Dropped packets of one slot, or of an interface without one, for one reason.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    slot: Option<String>,
    state: Option<String>,
    network: Option<String>,
    /// The container that has the slot now.
    container: Option<String>,
    /// The function that has the slot, or that it waits for.
    function: Option<String>,
    tenant: Option<String>,
    /// Interface index of the host-side veth.
    ifindex: u32,
    reason: &'static str,
    packets: u64,
    bytes: u64,
}

/// Lists dropped packets by slot and reason.
pub(crate) fn run(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    let rows = rows(directories)?;
    if as_json {
        return json(&rows);
    }
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    table(
        ["SLOT", "STATE", "NETWORK", "CONTAINER", "IFINDEX", "REASON", "PACKETS", "BYTES"],
        rows.into_iter().map(|row| {
            [
                text(row.slot),
                text(row.state),
                text(row.network),
                text(row.container),
                row.ifindex.to_string(),
                row.reason.to_owned(),
                row.packets.to_string(),
                row.bytes.to_string(),
            ]
        }),
    )
}

fn rows(directories: &Directories) -> Result<Vec<Row>, CommandError> {
    let node = node::open(directories)?;
    let drops = drops(&node::maps(directories)?)?;
    let slots = node.slots()?;
    let slots: HashMap<u64, Slot> = slots.into_iter().map(|slot| (slot.id.0, slot)).collect();
    let mut rows: Vec<_> = drops
        .into_iter()
        .map(|((slot, ifindex, reason), counter)| {
            row(slot, slots.get(&slot), ifindex, reason, counter)
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
    Ok(rows)
}

/// Every element once, in the order of slots: while elements are pushed out, the kernel may list one
/// twice.
fn drops(maps: &Maps) -> Result<BTreeMap<(u64, u32, u32), Counter>, DatapathError> {
    let elements = maps.drops()?.into_iter();
    let key = |DropKey { slot, ifindex, reason }| (slot, ifindex, reason);
    Ok(elements.map(|(element, counter)| (key(element), counter)).collect())
}

fn row(number: u64, slot: Option<&Slot>, ifindex: u32, reason: u32, counter: Counter) -> Row {
    let is_slot = number != 0;
    let state = slot.map_or_else(|| DELETED.to_owned(), |slot| slot.state().to_string());
    let reason = Reason::ALL.get(reason as usize).map_or("unknown", |reason| reason.label());
    Row {
        slot: is_slot.then(|| SlotId(number).to_string()),
        state: is_slot.then_some(state),
        network: slot.map(|slot| slot.network.to_string()),
        container: slot.and_then(|slot| slot.container.clone()).map(Into::into),
        function: slot.and_then(|slot| slot.function.clone()).map(Into::into),
        tenant: slot.and_then(|slot| slot.tenant.clone()).map(Into::into),
        ifindex,
        reason,
        packets: counter.packets,
        bytes: counter.bytes,
    }
}
