//! The index of slots by state, pool, trust domain and function.
//!
//! Key: state (1 byte), pool (16), domain (8), function (8), time of the last change (8, big-endian),
//! slot (8). Of a function's slots, the slot that has waited longest thus comes first. Domain and
//! function are digests, cut short: a caller that finds a slot by them compares those of the record.
//! Zeros stand for none: a direct slot has no pool, and a warm slot neither of the others. Callers look for claimed and active slots by pool only:
//! both states share a place in the index, without domain and time, so that an activation moves a slot
//! once.
//!
//! Value of a parked slot: the digest of its tenant (8 bytes; zeros for none), and how long it waits, if
//! its last user set that: nanoseconds (8 bytes, little-endian). Other values are empty.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Slot, SlotState};
use crate::model::{Domain, FunctionKey, PoolKey, SlotId, Tenant};

/// Length of a key.
const LENGTH: usize = 1 + 16 + 8 + 8 + 8 + 8;

/// The part of the index in which to look for slots.
#[derive(Debug, Clone, Copy)]
pub enum Prefix<'a> {
    /// Slots in a state.
    State(SlotState),
    /// Slots of a pool in a state.
    Pool(SlotState, PoolKey),
    /// Slots of a trust domain.
    Domain(SlotState, PoolKey, &'a Domain),
    /// Slots of a trust domain that this function used last.
    ///
    /// None: a container without a function used them last.
    Function(SlotState, PoolKey, &'a Domain, Option<&'a FunctionKey>),
}

/// A parked slot, as far as the index describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// Its number.
    pub slot: SlotId,
    /// The tenant that it waits for: a digest, cut short; zeros for none.
    pub tenant: [u8; 8],
    /// The function that it waits for, likewise.
    pub function: [u8; 8],
    /// Since when it waits, nanoseconds since the boot.
    pub since: u64,
    /// How long it waits, if its last user set that.
    pub idle_ttl: Option<Duration>,
}

impl Prefix<'_> {
    /// The first bytes of its slots' keys.
    pub(super) fn prefix(self) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(LENGTH);
        match self {
            Prefix::State(state) => prefix.push(place(state)),
            Prefix::Pool(state, pool) => extend(&mut prefix, &[&[place(state)], &pool.0]),
            Prefix::Domain(state, pool, domain) => {
                extend(&mut prefix, &[&[place(state)], &pool.0, &domain_digest(domain)]);
            }
            Prefix::Function(state, pool, domain, function) => {
                let (domain, function) = (domain_digest(domain), function_digest(function));
                extend(&mut prefix, &[&[place(state)], &pool.0, &domain, &function]);
            }
        }
        prefix
    }
}

fn extend(key: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        key.extend_from_slice(part);
    }
}

/// The key of a slot.
pub(super) fn key(slot: &Slot) -> Vec<u8> {
    let mut key = Vec::with_capacity(LENGTH);
    let state = slot.state();
    let (domain, function, changed) = if state.is_busy() {
        ([0; 8], [0; 8], 0)
    } else {
        let domain = slot.domain.as_ref().map_or([0; 8], domain_digest);
        (domain, function_digest(slot.function.as_ref()), slot.changed)
    };
    let (changed, id) = (changed.to_be_bytes(), slot.id.0.to_be_bytes());
    let pool = slot.kind.pool().map_or([0; 16], |pool| pool.0);
    extend(&mut key, &[&[place(state)], &pool, &domain, &function, &changed, &id]);
    key
}

/// The value beside the key of a slot.
pub(super) fn value(slot: &Slot) -> Vec<u8> {
    if slot.state() != SlotState::Parked {
        return Vec::new();
    }
    let mut value = short(slot.tenant.as_ref().map(Tenant::as_str)).to_vec();
    if let Some(ttl) = slot.idle_ttl {
        let nanoseconds = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        value.extend_from_slice(&nanoseconds.to_le_bytes());
    }
    value
}

/// The slot of a key and the time of its last change.
pub(super) fn since(key: &[u8]) -> Option<(SlotId, u64)> {
    Some((slot(key)?, u64::from_be_bytes(field(key, 1 + 16 + 8 + 8)?)))
}

/// The parked slot of a key and the value beside it.
pub(super) fn parked(key: &[u8], value: &[u8]) -> Option<Parked> {
    let (slot, since) = since(key)?;
    Some(Parked {
        slot,
        tenant: field(value, 0)?,
        function: field(key, 1 + 16 + 8)?,
        since,
        idle_ttl: field(value, 8).map(u64::from_le_bytes).map(Duration::from_nanos),
    })
}

fn field(bytes: &[u8], from: usize) -> Option<[u8; 8]> {
    bytes.get(from..from + 8)?.try_into().ok()
}

/// The state in a key: claimed and active slots share one.
fn place(state: SlotState) -> u8 {
    if state.is_busy() { SlotState::Active.number() } else { state.number() }
}

fn domain_digest(domain: &Domain) -> [u8; 8] {
    short(Some(&domain.to_string()))
}

fn function_digest(function: Option<&FunctionKey>) -> [u8; 8] {
    short(function.map(FunctionKey::as_str))
}

/// The slot of a key.
pub(super) fn slot(key: &[u8]) -> Option<SlotId> {
    let number = key.get(LENGTH - 8..)?.try_into().ok()?;
    Some(SlotId(u64::from_be_bytes(number)))
}

/// The first bytes of a name's digest; zeros where there is no name.
fn short(name: Option<&str>) -> [u8; 8] {
    let mut short = [0; 8];
    if let Some(name) = name {
        short.copy_from_slice(&Sha256::digest(name)[..8]);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::PoolKey, store::SlotKind};

    #[test]
    fn a_key_begins_with_the_prefix_of_each_of_its_prefixes() {
        let pool = PoolKey([7; 16]);
        let mut slot = Slot::building(SlotId(9), "n".parse().unwrap(), "eth0".parse().unwrap(), 5);
        slot.kind = SlotKind::Pooled { pool };
        let (t, f, g) = ("t".parse().unwrap(), "f".parse().unwrap(), "g".parse().unwrap());
        let (t, f) = (Tenant::clone(&t), FunctionKey::clone(&f));
        let domain = Domain::Tenant(Some(t));
        (slot.domain, slot.function) = (Some(domain.clone()), Some(f.clone()));
        let key = key(&slot);
        assert_eq!(key.len(), LENGTH);
        assert_eq!(super::slot(&key), Some(SlotId(9)));
        let state = SlotState::Building;
        for prefix in [
            Prefix::State(state),
            Prefix::Pool(state, pool),
            Prefix::Domain(state, pool, &domain),
            Prefix::Function(state, pool, &domain, Some(&f)),
        ] {
            assert!(key.starts_with(&prefix.prefix()), "{prefix:?}");
        }
        for prefix in [
            Prefix::State(SlotState::Warm),
            Prefix::Pool(state, PoolKey([8; 16])),
            Prefix::Domain(state, pool, &Domain::Tenant(None)),
            Prefix::Function(state, pool, &domain, Some(&g)),
            Prefix::Function(state, pool, &domain, None),
        ] {
            assert!(!key.starts_with(&prefix.prefix()), "{prefix:?}");
        }
    }
}
