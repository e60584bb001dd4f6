//! ACTIVATE: a slot that is at hand becomes a container's.

use std::path::Path;

use super::{LifecycleError, Node, Outcome, node::now};
use crate::{
    conf::User,
    datapath::Maps,
    failpoint,
    netns::{Netns, stack},
    slot::point,
    store::{PoolId, Scope, Shelf, Slot, SlotState, StoreError, Write},
    types::{AttachmentId, PoolKey},
};

/// What a container wants of a pool.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    pub(super) attachment: &'a AttachmentId,
    /// What the slot must have been built from.
    pub(super) key: PoolKey,
    /// Whom a used slot may be given to.
    pub(super) scope: Scope,
    /// Who will use it.
    pub(super) user: &'a User,
    /// Where its namespace will be mounted, if anywhere.
    pub(super) path: Option<&'a Path>,
    /// What sysctls the container's namespace has, where the runtime may have set some.
    pub(super) sysctls: Option<&'a [u8]>,
}

/// What a claim came to.
#[derive(Debug)]
pub(super) enum Claim {
    /// This slot is promised.
    Slot(Box<Slot>, Outcome),
    /// There is none.
    None,
}

/// Promises a slot: the one that the same function had, or one for anybody, or, where the scope
/// allows it, the one that somebody else left longest ago.
pub(super) fn claim(
    transaction: &mut Write<'_>,
    wanted: &Wanted<'_>,
) -> Result<Claim, LifecycleError> {
    let Some((slot, outcome)) = find(transaction, wanted)? else {
        return Ok(Claim::None);
    };
    transaction.attach(wanted.attachment, slot.id)?;
    let slot = transaction.advance(slot.id, SlotState::Claimed, now(), |slot| {
        slot.container = Some(wanted.attachment.container.clone());
        slot.netns_path = wanted.path.map(Path::to_owned);
        slot.function.clone_from(&wanted.user.function);
        slot.tenant.clone_from(&wanted.user.tenant);
    })?;
    transaction.count_up(&pool_of(wanted.attachment), outcome.label())?;
    Ok(Claim::Slot(Box::new(slot), outcome))
}

/// The pool that an attachment's slot is of.
pub(super) fn pool_of(attachment: &AttachmentId) -> PoolId {
    PoolId {
        network: attachment.network.clone(),
        ifname: attachment.ifname.clone(),
        template: None,
    }
}

/// The pool that a slot is of.
pub(super) fn pool_of_slot(slot: &Slot) -> PoolId {
    PoolId { network: slot.network.clone(), ifname: slot.ifname.clone(), template: None }
}

fn find(
    transaction: &Write<'_>,
    wanted: &Wanted<'_>,
) -> Result<Option<(Slot, Outcome)>, StoreError> {
    let User { function, tenant, .. } = wanted.user;
    let (key, tenant) = (wanted.key, tenant.as_ref());
    let own = function.as_ref();
    if let Some(function) = own {
        let shelf = Shelf::Function(SlotState::Parked, key, tenant, function);
        let same = |slot: &Slot| slot.function == wanted.user.function && is_tenants(slot, wanted);
        if let Some(slot) = first(transaction, shelf, same)? {
            return Ok(Some((slot, Outcome::Reused)));
        }
    }
    let anybody = (Some(Shelf::Pool(SlotState::Warm, key)), false);
    let tenants = Shelf::Tenant(SlotState::Parked, key, tenant);
    let tenants = ((wanted.scope != Scope::Function).then_some(tenants), true);
    let any = Shelf::Pool(SlotState::Parked, key);
    let networks = ((wanted.scope == Scope::Network).then_some(any), false);
    for (shelf, of_tenant) in [anybody, tenants, networks] {
        let Some(shelf) = shelf else { continue };
        let fits = |slot: &Slot| !of_tenant || is_tenants(slot, wanted);
        if let Some(slot) = first(transaction, shelf, fits)? {
            return Ok(Some((slot, Outcome::Warm)));
        }
    }
    Ok(None)
}

/// Shelves are found by digests cut short: the record has the last word.
fn is_tenants(slot: &Slot, wanted: &Wanted<'_>) -> bool {
    slot.tenant == wanted.user.tenant
}

/// The slot of a shelf that has rested longest, of those that `fit`.
fn first(
    transaction: &Write<'_>,
    shelf: Shelf<'_>,
    fits: impl Fn(&Slot) -> bool,
) -> Result<Option<Slot>, StoreError> {
    for id in transaction.on_shelf(shelf)? {
        if let Some(slot) = transaction.slot(id?)?.filter(&fits) {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// Makes a promised slot work: its namespace where the runtime looks for it, its map entries
/// pointing at it, and that on record.
pub(super) fn activate(
    node: &Node,
    maps: &Maps,
    slot: &Slot,
    netns: &Netns,
) -> Result<(), LifecycleError> {
    if slot.netns != Some(netns.inode()) {
        return Err(LifecycleError::StrangeNetns { slot: slot.id });
    }
    if let Some(path) = &slot.netns_path {
        stack(netns, path)?;
    }
    failpoint::hit("activate:stacked");
    point(slot, slot.host_ifindex, slot.identity, maps)?;
    failpoint::hit("activate:pointed");
    node.store.write(|transaction| {
        transaction.advance(slot.id, SlotState::Active, now(), |_| ()).map(drop)
    })?;
    failpoint::hit("activate:active");
    Ok(())
}
