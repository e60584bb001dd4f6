//! Which parked slots a pool deletes.

use std::fmt;

use crate::{
    model::{PoolPolicy, SlotId},
    node::age,
    store::Parked,
};

/// Most slots evicted by one decision: they are taken down together, and meanwhile nothing is built.
pub const MOST_EVICTED: usize = 64;
/// What stands for no function in the index.
const NO_FUNCTION: [u8; 8] = [0; 8];

/// Why a parked slot is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It has waited for its function for longer than it may.
    Idle,
    /// More wait for its function than may.
    Function,
    /// More wait for functions of its tenant than may.
    Tenant,
    /// Warm slots lack room, or the pool has more slots than its maximum.
    Room,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle for too long",
            Self::Function => "too many for their function",
            Self::Tenant => "too many for their tenant",
            Self::Room => "to make room",
        })
    }
}

/// A parked slot that is to be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    /// The slot.
    pub slot: SlotId,
    /// Since when it waits, nanoseconds since the boot. If the record has another time by now, a
    /// container has used the slot.
    pub since: u64,
    /// Why.
    pub reason: Reason,
}

/// Decides which parked slots of a pool to evict at `now` (nanoseconds since the node's boot).
/// These are slots that have waited too long, then the oldest slots of functions and of tenants
/// that have too many, and then the oldest of all until there are `room`. The result begins with
/// the longest wait.
///
/// `parked` is in the order of the index: slots of a tenant stand together, and among them those of
/// a function. If more than [`MOST_EVICTED`] are to go, the result has the oldest, and the next
/// decision the rest.
#[must_use]
pub fn evictions(parked: &[Parked], now: u64, policy: &PoolPolicy, room: u32) -> Vec<Eviction> {
    let idle = |slot: &Parked| is_idle(slot, now, policy).then_some(Reason::Idle);
    let mut reasons: Vec<Option<Reason>> = parked.iter().map(idle).collect();
    let same_tenant = |one: &Parked, other: &Parked| one.tenant == other.tenant;
    if let Some(most) = policy.parked_per_function {
        let same = |one: &Parked, other: &Parked| {
            same_tenant(one, other) && one.function == other.function
        };
        let named = |group: &[Parked]| group.first().is_some_and(|one| one.function != NO_FUNCTION);
        for (group, reasons) in groups(parked, &mut reasons, same).filter(|(g, _)| named(g)) {
            keep(group, reasons, most, Reason::Function);
        }
    }
    if let Some(most) = policy.parked_per_tenant {
        for (group, reasons) in groups(parked, &mut reasons, same_tenant) {
            keep(group, reasons, most, Reason::Tenant);
        }
    }
    let evicted = reasons.iter().flatten().count();
    mark_oldest(parked, &mut reasons, (room as usize).saturating_sub(evicted), Reason::Room);
    oldest(parked, &reasons)
}

/// Whether a slot has waited longer than its last user or the policy allows.
fn is_idle(slot: &Parked, now: u64, policy: &PoolPolicy) -> bool {
    let ttl = slot.idle_ttl.or(policy.idle_ttl);
    ttl.is_some_and(|ttl| age(slot.since, now) > ttl)
}

/// Runs of neighbouring slots that are the `same`, each with its reasons.
fn groups<'a>(
    parked: &'a [Parked],
    mut reasons: &'a mut [Option<Reason>],
    same: impl FnMut(&Parked, &Parked) -> bool + 'a,
) -> impl Iterator<Item = (&'a [Parked], &'a mut [Option<Reason>])> {
    parked.chunk_by(same).map(move |group| {
        let (own, others) = std::mem::take(&mut reasons).split_at_mut(group.len());
        reasons = others;
        (group, own)
    })
}

/// Keeps at most `most` slots of a group without a reason; the oldest others get `reason`.
fn keep(group: &[Parked], reasons: &mut [Option<Reason>], most: u32, reason: Reason) {
    let staying = reasons.iter().filter(|reason| reason.is_none()).count();
    mark_oldest(group, reasons, staying.saturating_sub(most as usize), reason);
}

/// Gives `reason` to the `count` oldest slots that have none.
fn mark_oldest(group: &[Parked], reasons: &mut [Option<Reason>], count: usize, reason: Reason) {
    if count == 0 {
        return;
    }
    let mut staying: Vec<usize> = (0..group.len()).filter(|at| reasons[*at].is_none()).collect();
    if count < staying.len() {
        staying.select_nth_unstable_by_key(count, |at| (group[*at].since, group[*at].slot));
    }
    for at in staying.into_iter().take(count) {
        reasons[at] = Some(reason);
    }
}

/// The slots that have a reason, beginning with the longest wait.
fn oldest(parked: &[Parked], reasons: &[Option<Reason>]) -> Vec<Eviction> {
    let of = |(slot, reason): (&Parked, &Option<Reason>)| {
        reason.map(|reason| Eviction { slot: slot.slot, since: slot.since, reason })
    };
    let mut evictions: Vec<_> = parked.iter().zip(reasons).filter_map(of).collect();
    evictions.sort_unstable_by_key(|eviction| (eviction.since, eviction.slot));
    evictions.truncate(MOST_EVICTED);
    evictions
}

#[cfg(test)]
mod tests;
