//! ACTIVATE: a slot that is at hand becomes a container's.

use std::path::Path;

use super::{
    Decline, LifecycleError, Node, Outcome, decision::decision, in_force::PoolInForce, node::now,
    terms::Terms,
};
use crate::{
    conf::User,
    datapath::Maps,
    failpoint,
    netns::{Netns, stack},
    slot::point,
    store::{Mode, Parked, PoolId, Scope, Shelf, Slot, SlotState, StoreError, Use, Write},
    types::AttachmentId,
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
    /// Records on a slot whose it is from now on, and how that came about; `distance` is how far it is
    /// from its last user.
    pub(super) fn give(&self, slot: &mut Slot, outcome: Outcome, distance: Scope) {
        slot.decision =
            Some(decision(self.terms.mode, self.user.function.as_ref(), outcome, slot.used));
        if slot.used {
            // What one of them did not want to share is not shared by the next.
            slot.scope = slot.scope.min(self.terms.scope);
            slot.spread = slot.spread.max(distance);
        } else {
            slot.scope = self.terms.scope;
        }
        slot.container = Some(self.attachment.container.clone());
        slot.netns_path = self.path.map(Path::to_owned);
        slot.function.clone_from(&self.user.function);
        slot.tenant.clone_from(&self.user.tenant);
        slot.mode = self.terms.mode;
        slot.idle_ttl = self.terms.idle_ttl;
        slot.used = true;
    }

    /// How far it is from a slot's last user to this one.
    fn distance(&self, slot: &Slot) -> Scope {
        let User { function, tenant, .. } = self.user;
        if slot.state() == SlotState::Warm || slot.tenant != *tenant {
            // Of one that is for anybody it is forgotten who had it.
            Scope::Network
        } else if function.is_some() && slot.function == *function {
            Scope::Function
        } else {
            Scope::Tenant
        }
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
    let distance = wanted.distance(&slot);
    let slot = transaction.advance(slot.id, SlotState::Claimed, now(), |slot| {
        wanted.give(slot, outcome, distance);
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

/// The slot that waits and that somebody can have, if there is one, and what it is to him.
pub(super) fn find(
    transaction: &Write<'_>,
    wanted: &Wanted<'_>,
) -> Result<Option<(Slot, Outcome)>, StoreError> {
    let key = wanted.pool.key;
    if wanted.terms.mode == Mode::Replicate {
        let new = first(transaction, Shelf::Warm(key, Use::New), |_| true)?;
        return Ok(new.map(|slot| (slot, Outcome::Warm)));
    }
    let User { function, tenant, .. } = wanted.user;
    if let Some(function) = function {
        let shelf = Shelf::Function(SlotState::Parked, key, tenant.as_ref(), function);
        // Shelves are found by digests cut short: the record has the last word.
        let own = |slot: &Slot| {
            slot.function == wanted.user.function
                && slot.tenant == *tenant
                && slot.spread <= wanted.terms.scope
        };
        if let Some(slot) = first(transaction, shelf, own)? {
            return Ok(Some((slot, Outcome::Reused)));
        }
    }
    let found = match anybodys(transaction, wanted)? {
        Some(slot) => Some(slot),
        None => others(transaction, wanted)?,
    };
    Ok(found.map(|slot| (slot, Outcome::Warm)))
}

/// A slot for anybody. Used ones first: new ones are for those who want no other.
fn anybodys(transaction: &Write<'_>, wanted: &Wanted<'_>) -> Result<Option<Slot>, StoreError> {
    let key = wanted.pool.key;
    if wanted.terms.scope == Scope::Network {
        // If the one that has rested longest has not rested enough, none has.
        let used = first(transaction, Shelf::Warm(key, Use::Used), |_| true)?;
        if let Some(slot) = used.filter(|slot| has_rested(slot, wanted)) {
            return Ok(Some(slot));
        }
    }
    first(transaction, Shelf::Warm(key, Use::New), |_| true)
}

/// The slot that somebody else left longest ago, if the scope of both allows it.
fn others(transaction: &Write<'_>, wanted: &Wanted<'_>) -> Result<Option<Slot>, StoreError> {
    if wanted.terms.scope == Scope::Function {
        return Ok(None);
    }
    let mut parked = transaction.parked(wanted.pool.key)?;
    parked.sort_unstable_by_key(|parked| parked.since);
    for Parked { slot, .. } in parked {
        let slot = transaction.slot(slot)?.filter(|slot| is_open_to(slot, wanted));
        if let Some(slot) = slot {
            return Ok(slot.into());
        }
    }
    Ok(None)
}

/// Whether a slot that waits for another function may be given to this one.
fn is_open_to(slot: &Slot, wanted: &Wanted<'_>) -> bool {
    let needed = if slot.tenant == wanted.user.tenant { Scope::Tenant } else { Scope::Network };
    slot.scope >= needed
        && wanted.terms.scope >= needed.max(slot.spread)
        && has_rested(slot, wanted)
}

fn has_rested(slot: &Slot, wanted: &Wanted<'_>) -> bool {
    let rested = now().saturating_sub(slot.changed);
    !slot.used || u128::from(rested) >= wanted.terms.cooldown.as_nanos()
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
    node.store.write(|transaction| {
        // A DEL may have given the slot up; from here on it waits, and so does whoever would get the
        // slot's addresses.
        transaction.advance(slot.id, SlotState::Active, now(), |_| ())?;
        point(slot, slot.host_ifindex, slot.identity, maps)?;
        failpoint::hit("activate:pointed");
        Ok::<_, LifecycleError>(())
    })?;
    failpoint::hit("activate:active");
    Ok(())
}

#[cfg(test)]
mod tests;
