//! Checks slots once more before they are deleted. Since the look that found them useless, an
//! interface may have come back, or a process may have entered the namespace.

use std::net::IpAddr;

use super::{Finding, Remedy, unchanged};
use crate::{
    netlink::{RouteSocket, get_link},
    netns::Kept,
    node::{Node, NodeError},
    store::{Read, Slot, StoreError},
    sweep::{
        Kind,
        observe::{is_off_path, others_who_use},
    },
};

/// Whether the reason to delete each slot still holds.
pub(super) fn still_so(node: &Node, batch: &[Finding]) -> Result<Vec<bool>, NodeError> {
    let slots = node.store.read(|transaction| {
        let on_record = batch.iter().map(|finding| on_record(transaction, finding));
        on_record.collect::<Result<Vec<_>, StoreError>>()
    })?;
    let of_pools: Vec<&Slot> = slots.iter().flatten().filter(|slot| slot.owns_netns()).collect();
    let in_use: Vec<&Slot> =
        of_pools.iter().copied().filter(|slot| slot.container.is_some()).collect();
    let kept = kept(node, batch, &in_use)?;
    let used = others_who_use(&in_use, &kept, &node.directories.run)?;
    let mut socket = RouteSocket::open()?;
    let still = batch.iter().zip(&slots).map(|(finding, slot)| {
        let Some(slot) = slot else { return Ok(false) };
        if slot.owns_netns() && slot.netns.is_some_and(|own| used.contains_key(&own)) {
            return Ok(false);
        }
        match finding.kind {
            Kind::SlotLink => is_gone(&mut socket, slot),
            Kind::SlotNamespace => {
                Ok(slot.netns.is_none() || kept.slots.get(&slot.id).copied() != slot.netns)
            }
            Kind::Abandoned => Ok(is_off_path(slot)),
            _ => Ok(true),
        }
    });
    still.collect()
}

/// The slot, if its record is unchanged, and so are the records of other slots that speak against it.
fn on_record(transaction: &Read<'_>, finding: &Finding) -> Result<Option<Slot>, StoreError> {
    let Remedy::Delete(seen) = &finding.remedy else { return Ok(None) };
    let Some(slot) = unchanged(transaction, seen)? else { return Ok(None) };
    let owner = match (finding.kind, finding.name.parse::<IpAddr>(), slot.attachment()) {
        (Kind::Address, Ok(address), _) => transaction.address_owner(address)?,
        (Kind::Attachment, _, Some(id)) => transaction.attachment(&id)?,
        _ => return Ok(Some(slot)),
    };
    let others = owner.is_some_and(|owner| owner != slot.id);
    Ok(others.then_some(slot))
}

/// The namespaces in the store, if a finding needs them.
fn kept(node: &Node, batch: &[Finding], in_use: &[&Slot]) -> Result<Kept, NodeError> {
    let asked =
        !in_use.is_empty() || batch.iter().any(|finding| finding.kind == Kind::SlotNamespace);
    match if asked { node.existing_netns_store()? } else { None } {
        Some(netns_store) => Ok(netns_store.enter(|inside| inside.kept())??),
        None => Ok(Kept::default()),
    }
}

/// Whether a slot's interface is gone.
fn is_gone(socket: &mut RouteSocket, slot: &Slot) -> Result<bool, NodeError> {
    match get_link(socket, &slot.id.host_ifname()) {
        Err(error) if error.is_absent() => Ok(true),
        found => Ok(found.map(|_| false)?),
    }
}
