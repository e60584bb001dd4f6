//! The model's slots, in the order in which ADD and the pool controller find them.

use std::collections::{BTreeSet, VecDeque};

use repoint::{
    model::{PoolPolicy, Scope, SlotId},
    pool::Supply,
    store::Parked,
};

use super::Moment;

/// Number of a slot.
pub(super) type Number = usize;

/// The present or last user of a slot: tenant, and function if any.
pub(super) type User = (u32, Option<u32>);

/// A slot that came back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dirty {
    pub(super) slot: Number,
    pub(super) user: User,
}

/// Where a slot came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Its trust domain had it before.
    Reused(Number),
    /// It had no user before.
    Warm(Number),
}

/// By what parked slots are ordered.
fn key(parked: &Parked) -> ([u8; 8], [u8; 8], Moment, SlotId) {
    (parked.tenant, parked.function, parked.since, parked.slot)
}

/// What stands for a tenant or function: zeros are none.
fn name(number: impl Into<Option<u32>>) -> [u8; 8] {
    number.into().map_or([0; 8], |number| (u64::from(number) + 1).to_be_bytes())
}

/// The slot of a parked one.
fn number(parked: &Parked) -> Number {
    Number::try_from(parked.slot.0).unwrap_or(Number::MAX)
}

/// All slots of the pool.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Ready for any container, by time, as in the index.
    warm: BTreeSet<(Moment, Number)>,
    /// Waiting for a function, likewise: by [`key`].
    parked: Vec<Parked>,
    /// Waiting to be scrubbed.
    pub(super) dirty: VecDeque<Dirty>,
    /// The last user of each slot, by the slot's number.
    users: Vec<User>,
    /// In all states.
    total: u32,
}

impl Slots {
    /// Slots that are being built from now on.
    pub(super) fn begin(&mut self, count: u32) -> Vec<Number> {
        self.total += count;
        let (first, count) = (self.users.len(), count as usize);
        self.users.resize(first + count, User::default());
        (first..first + count).collect()
    }

    /// A slot that was built ahead of time is ready.
    pub(super) fn built(&mut self, slot: Number, now: Moment) {
        self.warm.insert((now, slot));
    }

    /// A slot that was scrubbed waits for its function.
    pub(super) fn park(&mut self, slot: Number, user: User, now: Moment) {
        self.users[slot] = user;
        let (tenant, function) = (name(user.0), name(user.1));
        let slot = SlotId(slot as u64);
        let parked = Parked { slot, tenant, function, since: now, idle_ttl: None };
        let at = self.parked.partition_point(|other| key(other) < key(&parked));
        self.parked.insert(at, parked);
    }

    /// A slot is gone.
    pub(super) fn forget(&mut self) {
        self.total -= 1;
    }

    /// In all states.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// A slot for a container that starts, in the order of `serve/select.rs`: one of its own function,
    /// one that a container without a function left to its trust domain, one that has had no user, one of
    /// another function of the domain.
    pub(super) fn claim(&mut self, user: User, policy: &PoolPolicy) -> Option<Claim> {
        let (tenant, function) = (name(user.0), name(user.1));
        let may_have = |parked: &Parked| match policy.scope {
            Scope::Function => {
                user.1.is_some() && (parked.tenant, parked.function) == (tenant, function)
            }
            Scope::Tenant => parked.tenant == tenant,
            Scope::Network => true,
        };
        for wanted in [function, name(None)] {
            let fits = |parked: &Parked| parked.function == wanted && may_have(parked);
            if let Some(at) = self.parked.iter().position(fits) {
                return Some(Claim::Reused(number(&self.parked.remove(at))));
            }
        }
        if let Some((_, slot)) = self.warm.pop_first() {
            return Some(Claim::Warm(slot));
        }
        let others = (0..).zip(&self.parked).filter(|(_, parked)| may_have(parked));
        let (at, _) = others.min_by_key(|(_, parked)| (parked.since, parked.slot))?;
        Some(Claim::Reused(number(&self.parked.remove(at))))
    }

    /// Takes the parked slot that has waited longest: its place is wanted.
    pub(super) fn evict(&mut self) -> Option<Number> {
        let ages = (0..).zip(&self.parked).map(|(at, parked)| (parked.since, parked.slot, at));
        let (_, _, at) = ages.min()?;
        Some(number(&self.parked.remove(at)))
    }

    /// Takes the `count` warm slots that have waited longest.
    pub(super) fn drain(&mut self, count: u32) -> usize {
        let drained = (0..count).map_while(|_| self.warm.pop_first());
        drained.count()
    }

    /// Takes a parked slot out of the pool, to delete it.
    pub(super) fn unpark(&mut self, slot: Number, since: Moment) {
        let (tenant, function) = self.users[slot];
        let wanted = (name(tenant), name(function), since, SlotId(slot as u64));
        if let Ok(at) = self.parked.binary_search_by_key(&wanted, key) {
            self.parked.remove(at);
        }
    }

    /// The parked slots, as the index lists them.
    pub(super) fn parked(&self) -> &[Parked] {
        &self.parked
    }

    /// How many slots the pool has in which state.
    pub(super) fn supply(&self) -> Supply {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (warm, parked) = (count(self.warm.len()), count(self.parked.len()));
        Supply { warm, parked, total: self.total }
    }
}
