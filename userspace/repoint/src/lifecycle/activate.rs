//! ACTIVATE: a slot that is at hand becomes a container's.

use std::path::Path;

use super::{
    Decline, LifecycleError, Node, Outcome, decision::decision, in_force::PoolInForce, node::now,
    tenants::ensure_tenant_room, terms::Terms,
};
use crate::{
    conf::User,
    datapath::Maps,
    failpoint,
    netns::{Netns, stack},
    slot::{Built, point, point_waiting},
    store::{Mode, PoolId, Prefix, Slot, SlotState, StoreError, Transaction, Write},
    types::{AttachmentId, Identity, SlotId},
};

/// What a container wants of a pool.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    pub(super) attachment: &'a AttachmentId,
    /// Where the slot is to come from.
    pub(super) pool: &'a PoolInForce,
    /// On what terms.
    pub(super) terms: Terms,
    /// Who will use it.
    pub(super) user: &'a User,
    /// Where its namespace will be mounted, if anywhere.
    pub(super) path: Option<&'a Path>,
    /// What sysctls the container's namespace has, where the runtime may have set some.
    pub(super) sysctls: Option<&'a [u8]>,
}

impl Wanted<'_> {
    /// Records on a slot whose it is from now on, and how that came about. The first use decides
    /// whose namespace it is; a later one is of the same trust domain.
    pub(super) fn give(&self, slot: &mut Slot, outcome: Outcome) {
        let function = self.user.function.as_ref();
        let was_own = (&slot.function, &slot.tenant) == (&self.user.function, &self.user.tenant);
        slot.decision = Some(decision(self.terms.mode, function, outcome, slot.used, was_own));
        slot.domain.get_or_insert_with(|| self.terms.domain.clone());
        slot.retain = self.terms.mode == Mode::Reuse && self.terms.domain.is_shared();
        slot.container = Some(self.attachment.container.clone());
        slot.netns_path = self.path.map(Path::to_owned);
        slot.function.clone_from(&self.user.function);
        slot.tenant.clone_from(&self.user.tenant);
        slot.mode = self.terms.mode;
        slot.idle_ttl = self.terms.idle_ttl;
        slot.used = true;
    }

    /// Whether a slot was this domain's, or prepared for it.
    fn may_have(&self, slot: &Slot) -> bool {
        slot.retain && slot.domain.as_ref().is_some_and(|own| own.admits(&self.terms.domain))
    }

    /// The error that it cannot have a slot.
    pub(super) fn declined(&self, reason: Decline) -> LifecycleError {
        LifecycleError::Declined { attachment: Box::new(self.attachment.clone()), reason }
    }

    /// Counts and notes how it was served.
    pub(super) fn note(
        &self,
        transaction: &mut Write<'_>,
        slot: &Slot,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        transaction.count_up(&self.pool.id, outcome.label())?;
        match &slot.decision {
            Some(decision) => transaction.note(self.attachment, decision, slot.changed),
            None => Ok(()),
        }
    }
}

/// What a claim came to.
#[derive(Debug)]
pub(super) enum Claim {
    /// This slot is promised.
    Slot(Box<Slot>, Outcome),
    /// There is none.
    None,
}

/// Promises a slot: one that the same function had, or another of its trust domain, or else one that
/// nobody has used.
pub(super) fn claim(
    transaction: &mut Write<'_>,
    wanted: &Wanted<'_>,
) -> Result<Claim, LifecycleError> {
    let Some((slot, outcome)) = find(transaction, wanted)? else {
        return Ok(Claim::None);
    };
    transaction.attach(wanted.attachment, slot.id)?;
    // Its own slot counts already.
    if !slot.used || slot.tenant != wanted.user.tenant {
        let Wanted { pool, user, .. } = wanted;
        ensure_tenant_room(transaction, &pool.id.network, user, &pool.policy)?;
    }
    let slot = transaction.advance(slot.id, SlotState::Claimed, now(), |slot| {
        wanted.give(slot, outcome);
    })?;
    wanted.note(transaction, &slot, outcome)?;
    Ok(Claim::Slot(Box::new(slot), outcome))
}

/// The pool that a slot is of.
pub(super) fn pool_of_slot(slot: &Slot) -> PoolId {
    PoolId {
        network: slot.network.clone(),
        ifname: slot.ifname.clone(),
        template: slot.template_name.clone(),
    }
}

/// The slot that waits and that the container can have, if there is one, and how it is served so:
/// one of its own function, one that a container without a function left to its trust domain, one
/// that nobody has used, one that waits for another function of the domain.
pub(super) fn find(
    transaction: &Write<'_>,
    wanted: &Wanted<'_>,
) -> Result<Option<(Slot, Outcome)>, StoreError> {
    let is_reuse = wanted.terms.mode == Mode::Reuse && wanted.terms.domain.is_shared();
    let reused = |slot: Slot| (slot, Outcome::Reused);
    if is_reuse && let Some(slot) = own_or_nobodys(transaction, wanted)? {
        return Ok(Some(reused(slot)));
    }
    let warm = transaction.since(Prefix::Pool(SlotState::Warm, wanted.pool.key))?;
    if let Some(slot) = first(transaction, warm, |_| true)? {
        return Ok(Some((slot, Outcome::Warm)));
    }
    if is_reuse { Ok(others(transaction, wanted)?.map(reused)) } else { Ok(None) }
}

/// The slot that has waited longest for the container's own function, or else for no function.
fn own_or_nobodys(
    transaction: &Write<'_>,
    wanted: &Wanted<'_>,
) -> Result<Option<Slot>, StoreError> {
    let User { function, tenant, .. } = wanted.user;
    let prefix = |function| {
        Prefix::Function(SlotState::Parked, wanted.pool.key, &wanted.terms.domain, function)
    };
    // The index holds digests cut short: the record decides.
    let is_own =
        |slot: &Slot| slot.function == *function && slot.tenant == *tenant && wanted.may_have(slot);
    if let Some(slot) = first(transaction, transaction.since(prefix(function.as_ref()))?, is_own)? {
        return Ok(Some(slot));
    }
    let is_nobodys = |slot: &Slot| slot.function.is_none() && wanted.may_have(slot);
    first(transaction, transaction.since(prefix(None))?, is_nobodys)
}

/// The slot that has waited longest for another function of the container's trust domain.
fn others(transaction: &Write<'_>, wanted: &Wanted<'_>) -> Result<Option<Slot>, StoreError> {
    let prefix = Prefix::Domain(SlotState::Parked, wanted.pool.key, &wanted.terms.domain);
    let mut others = transaction.since(prefix)?.collect::<Result<Vec<_>, _>>()?;
    others.sort_unstable_by_key(|(_, since)| *since);
    first(transaction, others.into_iter().map(Ok), |slot| wanted.may_have(slot))
}

/// The first of some slots that `fits`.
fn first(
    transaction: &Write<'_>,
    slots: impl Iterator<Item = Result<(SlotId, u64), StoreError>>,
    fits: impl Fn(&Slot) -> bool,
) -> Result<Option<Slot>, StoreError> {
    for found in slots {
        if let Some(slot) = transaction.slot(found?.0)?.filter(&fits) {
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
    node.store.write(|transaction| {
        // While nobody else can write: should a DEL have come meanwhile, the slot may be another's,
        // and its traffic is no more ours to start.
        ensure_unchanged(transaction, slot)?;
        point_waiting(slot, slot.identity, maps)?;
        failpoint::hit("activate:pointed");
        transaction.advance(slot.id, SlotState::Active, now(), |_| ())?;
        Ok::<_, LifecycleError>(())
    })?;
    failpoint::hit("activate:active");
    Ok(())
}

/// Points the maps at a slot that was built, while nobody can write to the database: should it have
/// been deleted meanwhile, its addresses may be another's.
pub(super) fn publish(
    node: &Node,
    maps: &Maps,
    slot: &Slot,
    built: &Built,
    identity: Identity,
) -> Result<(), LifecycleError> {
    node.store.read(|transaction| {
        ensure_unchanged(transaction, slot)?;
        Ok::<_, LifecycleError>(point(slot, built.host_ifindex, identity, maps)?)
    })?;
    failpoint::hit("build:published");
    Ok(())
}

/// Why an ADD failed that had this slot: what it met is of no interest where a DEL caused it.
pub(super) fn cause(node: &Node, slot: &Slot, met: LifecycleError) -> LifecycleError {
    let unchanged = node.store.read(|transaction| ensure_unchanged(transaction, slot));
    match unchanged {
        Err(overtaken @ LifecycleError::Overtaken { .. }) => overtaken,
        _ => met,
    }
}

/// Fails where a slot is not what ADD has made of it: a DEL came meanwhile, or a GC.
pub(super) fn ensure_unchanged<T: lmdb::Transaction>(
    transaction: &Transaction<'_, T>,
    slot: &Slot,
) -> Result<(), LifecycleError> {
    match transaction.unchanged(slot)? {
        Some(_) => Ok(()),
        None => Err(LifecycleError::Overtaken { slot: slot.id }),
    }
}

#[cfg(test)]
mod tests;
