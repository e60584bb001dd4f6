//! Slots of a database that was lost, whose containers run on.
//!
//! A slot is recorded before its kernel objects are made. Therefore an interface of ours without a
//! record mostly belongs to a database that was removed, or replaced by another, under running
//! containers. Their traffic ends with the interface, so the sweep keeps interfaces in use for a while.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::Duration,
};

use super::observe::{Namespaces, Observation};
use crate::{
    model::SlotId,
    netlink::LinkInfo,
    netns::{NetnsInode, NetnsStore},
    node::NodeError,
    slot::{Alias, users},
    store::{Store, StoreError},
};

/// Slots in use that are not on record, with their users. A slot in its runtime's namespace is not
/// in the namespace store; it counts as used while its interface is up.
pub(super) fn look(seen: &Observation, run: &Path) -> Result<HashMap<SlotId, String>, NodeError> {
    let strays = strays(seen);
    if strays.is_empty() {
        return Ok(HashMap::new());
    }
    let none = HashMap::new();
    let kept = match &seen.namespaces {
        Namespaces::Kept(kept) => &kept.slots,
        Namespaces::None | Namespaces::WrongMountNamespace => &none,
    };
    let own: Vec<NetnsInode> = strays.keys().filter_map(|slot| kept.get(slot)).copied().collect();
    let used = if own.is_empty() {
        HashMap::new()
    } else {
        let netns_store = NetnsStore::open_existing(run)?;
        let inode = netns_store
            .map(|netns_store| netns_store.inode())
            .transpose()?
            .map(|inode| inode.inode);
        users(&own, inode)?
    };
    let of_slot = |(slot, link): (SlotId, &LinkInfo)| {
        let who = match kept.get(&slot) {
            Some(namespace) => used.get(namespace)?.to_string(),
            None if link.up => "its interface is up".to_owned(),
            None => return None,
        };
        Some((slot, who))
    };
    Ok(strays.into_iter().filter_map(of_slot).collect())
}

/// Keeps the addresses of such containers unassigned for as long as they may run on. While the
/// kernel has a route for an address, no other slot can be built with it.
pub(super) fn spare_addresses(
    seen: &Observation,
    store: &Store,
    patience: Duration,
) -> Result<(), StoreError> {
    let Some(entries) = seen.entries.as_ref().filter(|_| !seen.lost.is_empty()) else {
        return Ok(());
    };
    let is_lost = |link: &&LinkInfo| {
        Alias::read(&link.alias).is_some_and(|alias| seen.lost.contains_key(&alias.slot))
    };
    let lost: HashSet<u32> = seen.links.iter().filter(is_lost).map(|link| link.ifindex).collect();
    let until = seen.now.saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
    store.write(|transaction| {
        let mut all = entries.endpoints.iter();
        all.try_for_each(|(address, entry)| {
            if lost.contains(&entry.ifindex) { transaction.spare(*address, until) } else { Ok(()) }
        })
    })
}

/// Interfaces of ours whose slots are not on record.
fn strays(seen: &Observation) -> HashMap<SlotId, &LinkInfo> {
    let records = &seen.records;
    let on_record: HashSet<SlotId> =
        records.slots.iter().map(|slot| slot.id).chain(records.damaged.iter().copied()).collect();
    let of_slot = |link: &LinkInfo| {
        let alias = Alias::read(&link.alias)?;
        let is_ours = link.name == alias.slot.host_ifname() && !alias.is_foreign_to(seen.owner);
        is_ours.then_some(alias.slot)
    };
    let all = seen.links.iter().filter_map(|link| Some((of_slot(link)?, link)));
    all.filter(|(slot, _)| !on_record.contains(slot)).collect()
}
