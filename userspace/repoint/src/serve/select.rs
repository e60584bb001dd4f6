//! Choosing and claiming a slot of a pool for a container, in one transaction.

use std::path::Path;

use super::decision::decision;
use crate::{
    conf::User,
    model::{AttachmentId, Decline, Identity, Mode, Outcome, SlotId, Subject, TenantNumber},
    netns::{Netns, NetnsStore},
    node::{Node, NodeError, PoolError, effective::EffectivePool, now},
    pool::terms::EffectiveTerms,
    retire::tenants::ensure_tenant_room,
    store::{PartyNames, Prefix, Slot, SlotState, StoreError, Write},
};

/// A container's request for a slot of a pool.
#[derive(Debug, Clone)]
pub(crate) struct SlotRequest<'a> {
    pub(crate) attachment: &'a AttachmentId,
    /// The pool that the slot comes from.
    pub(crate) pool: &'a EffectivePool,
    /// The effective terms.
    pub(crate) terms: EffectiveTerms,
    /// The function and tenant that will use it.
    pub(crate) user: &'a User,
    /// Where its namespace will be mounted, if anywhere.
    pub(crate) path: Option<&'a Path>,
    /// The sysctls of the container's namespace, where the runtime may have set some.
    pub(crate) sysctls: Option<&'a [u8]>,
    /// How the slot's namespace is opened.
    pub(crate) opener: NetnsOpener<'a>,
}

/// What a container is for the data plane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assigned {
    pub(crate) identity: Identity,
    pub(crate) tenant_number: TenantNumber,
    /// Whether its packets are judged by policies.
    pub(crate) enforces: bool,
}

impl Assigned {
    /// Assigns an identity, the number of a tenant and policies.
    pub(crate) fn of(
        transaction: &mut Write<'_>,
        subject: &Subject,
        user: &User,
        share_without_tenant: bool,
    ) -> Result<Self, StoreError> {
        let (identity, tenant_number) =
            transaction.assign_identity(subject, share_without_tenant)?;
        let enforces = enforces(transaction, identity, subject, user)?;
        Ok(Self { identity, tenant_number, enforces })
    }
}

/// Whether policies judge the packets of an identity, to which a start may give labels.
fn enforces(
    transaction: &mut Write<'_>,
    identity: Identity,
    subject: &Subject,
    user: &User,
) -> Result<bool, StoreError> {
    let labels = user.labels.as_ref().map(|labels| &labels.0);
    let is_other = transaction.give_labels(identity, labels)?;
    let names = PartyNames {
        identity: Some(identity),
        network: subject.network(),
        tenant: subject.tenant(),
        function: subject.function(),
    };
    let policies = transaction.assign_policies(identity, &names)?;
    if is_other {
        transaction.enforce_on_slots()?;
    }
    Ok(policies.is_some_and(|policies| policies.is_enforced()))
}

/// How a slot's namespace is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NetnsOpener<'a> {
    /// From the namespace store, which the guards opened; none: the node has none yet.
    Store(Option<&'a NetnsStore>),
    /// From the directory that a long-lived process keeps open.
    Directory,
}

impl NetnsOpener<'_> {
    pub(crate) fn open(self, node: &Node, slot: SlotId) -> Result<Netns, NodeError> {
        match self {
            Self::Store(Some(store)) => Ok(store.netns(slot)?),
            Self::Store(None) => Err(NodeError::NoNetnsStore),
            Self::Directory => node.netns_from_directory(slot),
        }
    }
}

impl SlotRequest<'_> {
    /// Writes the slot's new user, and the reason why it got this slot, into its record. The first use sets
    /// the namespace's trust domain; a later one is of the same domain.
    pub(crate) fn give(
        &self,
        slot: &mut Slot,
        outcome: Outcome,
        Assigned { identity, tenant_number, enforces }: Assigned,
    ) {
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
        slot.isolation = self.terms.isolation;
        (slot.identity, slot.tenant_number) = (identity, tenant_number);
        slot.enforces = enforces;
        slot.epoch = now();
        slot.used = true;
    }

    /// What the container is for the data plane, if it gets this slot.
    pub(crate) fn identity(
        &self,
        transaction: &mut Write<'_>,
        slot: &Slot,
    ) -> Result<Assigned, StoreError> {
        let User { function, tenant, .. } = self.user;
        let is_known = function.is_some() && tenant.is_some();
        if is_known && slot.used && slot.function == *function && slot.tenant == *tenant {
            let subject =
                Subject::of(&slot.network, tenant.as_ref(), function.as_ref(), false, slot.id);
            let (identity, tenant_number) = (slot.identity, slot.tenant_number);
            let enforces = enforces(transaction, identity, &subject, self.user)?;
            return Ok(Assigned { identity, tenant_number, enforces });
        }
        let share = self.terms.share_without_tenant;
        let (tenant, function) = (tenant.as_ref(), function.as_ref());
        let subject = Subject::of(&slot.network, tenant, function, share, slot.id);
        Assigned::of(transaction, &subject, self.user, share)
    }

    /// Whether the slot is kept for a trust domain that admits this request.
    fn may_have(&self, slot: &Slot) -> bool {
        slot.retain && slot.domain.as_ref().is_some_and(|own| own.admits(&self.terms.domain))
    }

    /// The error that it cannot have a slot.
    pub(crate) fn declined(&self, reason: Decline) -> NodeError {
        PoolError::Declined { attachment: Box::new(self.attachment.clone()), reason }.into()
    }

    /// Counts and records how the ADD was served.
    pub(crate) fn note(
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

/// Claims the slot that [`find`] chooses, and records its container.
pub(super) fn claim(
    transaction: &mut Write<'_>,
    wanted: &SlotRequest<'_>,
) -> Result<Option<(Slot, Outcome)>, NodeError> {
    let Some((slot, outcome)) = find(transaction, wanted)? else {
        return Ok(None);
    };
    transaction.attach(wanted.attachment, slot.id)?;
    // A slot that the tenant already has counts already.
    if !slot.used || slot.tenant != wanted.user.tenant {
        let SlotRequest { pool, user, .. } = wanted;
        ensure_tenant_room(transaction, &pool.id.network, user, &pool.policy)?;
    }
    let identity = wanted.identity(transaction, &slot)?;
    let slot = transaction.advance_read(slot, SlotState::Claimed, now(), |slot| {
        wanted.give(slot, outcome, identity);
    })?;
    wanted.note(transaction, &slot, outcome)?;
    Ok(Some((slot, outcome)))
}

/// The waiting slot that the container gets, and how it is served by that. The order of preference
/// is: a slot of its own function, a slot that a container without a function left to the trust
/// domain, a slot without a previous container, a slot that waits for another function of the domain.
pub(super) fn find(
    transaction: &Write<'_>,
    wanted: &SlotRequest<'_>,
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
    wanted: &SlotRequest<'_>,
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
fn others(transaction: &Write<'_>, wanted: &SlotRequest<'_>) -> Result<Option<Slot>, StoreError> {
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

#[cfg(test)]
mod tests;
