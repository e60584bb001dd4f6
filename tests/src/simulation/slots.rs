//! The model's slots, on the shelves on which ADD and the keeper find them.

use std::collections::{BTreeSet, VecDeque};

use repoint::{
    policy::{Stock, Supply},
    store::{Parked, PoolPolicy, Scope},
    types::SlotId,
};

use super::{Moment, nanoseconds};

/// Number of a slot.
pub(super) type Number = usize;

/// Who uses a slot, or used it last: tenant and function.
pub(super) type User = (u32, u32);

/// A slot that came back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dirty {
    pub(super) slot: Number,
    pub(super) user: User,
}

/// Where a slot came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Its function had it before.
    Reused(Number),
    /// It was for anybody, or another's.
    Warm(Number),
}

/// By what parked slots are ordered.
fn key(parked: &Parked) -> ([u8; 8], [u8; 8], Moment, SlotId) {
    (parked.tenant, parked.function, parked.since, parked.slot)
}

/// What stands for a tenant or function: zeros are none.
fn name(number: u32) -> [u8; 8] {
    (u64::from(number) + 1).to_be_bytes()
}

/// The slot of a parked one.
fn number(parked: &Parked) -> Number {
    Number::try_from(parked.slot.0).unwrap_or(Number::MAX)
}

/// All slots of the pool.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Ready for anybody, as the index has them: unused ones first, then by time.
    warm: BTreeSet<(bool, Moment, Number)>,
    /// Waiting for a function, likewise: by [`key`].
    parked: Vec<Parked>,
    /// Waiting to be scrubbed.
    pub(super) dirty: VecDeque<Dirty>,
    /// Who used each slot last, by its number.
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
        self.warm.insert((false, now, slot));
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

    /// A slot for somebody who starts, in the order of `lifecycle/activate.rs`: the own one that has
    /// rested longest, one for anybody, one of the tenant's, anybody's, as far as the scope allows.
    pub(super) fn claim(&mut self, user: User, policy: &PoolPolicy, now: Moment) -> Option<Claim> {
        let (tenant, function) = (name(user.0), name(user.1));
        let own = |parked: &Parked| (parked.tenant, parked.function) < (tenant, function);
        let at = self.parked.partition_point(own);
        if self.parked.get(at).is_some_and(|one| (one.tenant, one.function) == (tenant, function)) {
            return Some(Claim::Reused(number(&self.parked.remove(at))));
        }
        let cooldown = nanoseconds(policy.cooldown);
        let rested = |since: Moment| now.saturating_sub(since) >= cooldown;
        let ready = |(used, since, _): &&(bool, Moment, Number)| !used || rested(*since);
        if let Some(found) = self.warm.iter().find(ready).copied() {
            self.warm.remove(&found);
            return Some(Claim::Warm(found.2));
        }
        let may_have = |parked: &Parked| match policy.scope {
            Scope::Function => false,
            Scope::Tenant => parked.tenant == tenant,
            Scope::Network => true,
        };
        let fits = |parked: &Parked| may_have(parked) && rested(parked.since);
        let at = self.parked.iter().position(fits)?;
        Some(Claim::Warm(number(&self.parked.remove(at))))
    }

    /// Takes the parked slot that has waited longest off its shelf: its place is wanted.
    pub(super) fn evict(&mut self) -> Option<Number> {
        let ages = (0..).zip(&self.parked).map(|(at, parked)| (parked.since, parked.slot, at));
        let (_, _, at) = ages.min()?;
        Some(number(&self.parked.remove(at)))
    }

    /// Takes the `count` warm slots off their shelf that have been there longest.
    pub(super) fn drain(&mut self, count: u32) -> usize {
        let mut oldest: Vec<_> = self.warm.iter().copied().collect();
        oldest.sort_unstable_by_key(|(_, since, slot)| (*since, *slot));
        oldest.truncate(count as usize);
        for slot in &oldest {
            self.warm.remove(slot);
        }
        oldest.len()
    }

    /// Takes a parked slot off its shelf, to make it ready for anybody or to give it up.
    pub(super) fn unpark(&mut self, slot: Number, since: Moment) {
        let (tenant, function) = self.users[slot];
        let wanted = (name(tenant), name(function), since, SlotId(slot as u64));
        if let Ok(at) = self.parked.binary_search_by_key(&wanted, key) {
            self.parked.remove(at);
        }
    }

    /// A retired slot is ready for anybody.
    pub(super) fn recycle(&mut self, slot: Number, since: Moment) {
        self.warm.insert((true, since, slot));
    }

    /// The parked slots, as the index lists them.
    pub(super) fn parked(&self) -> &[Parked] {
        &self.parked
    }

    /// What the pool has at a moment.
    pub(super) fn stock(&self, policy: &PoolPolicy, now: Moment) -> Stock {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (warm, parked) = (count(self.warm.len()), count(self.parked.len()));
        let cooldown = nanoseconds(policy.cooldown);
        let rests = (true, now.saturating_sub(cooldown) + 1, 0)..;
        let resting = if cooldown == 0 { 0 } else { count(self.warm.range(rests).count()) };
        Stock { supply: Supply { warm, parked, total: self.total }, resting }
    }
}
