//! The index of slots by what they are looked for by: state, pool and last user.
//!
//! Key: state (1 byte), pool (16), tenant (8), function (8), time of the last change (8, big-endian,
//! so that of a function's slots the one that has rested longest comes first), slot (8). Tenant and
//! function are digests, cut short: whoever finds a slot by them compares the record's. A slot that
//! is for anybody has a 1 in the place of the function if somebody has used it, and zeros otherwise.
//! Nobody looks for slots that are claimed or active by more than their pool: both are in one place,
//! with neither user nor time, so that a slot is moved once when it is activated.
//!
//! Value: of a parked slot how long it waits, where its last user said so: nanoseconds (8 bytes,
//! little-endian). Otherwise empty.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Slot, SlotState};
use crate::types::{FunctionKey, PoolKey, SlotId, Tenant};

/// Length of a key.
const LENGTH: usize = 1 + 16 + 8 + 8 + 8 + 8;

/// Where in the index slots are looked for.
#[derive(Debug, Clone, Copy)]
pub enum Shelf<'a> {
    /// All in a state.
    State(SlotState),
    /// Those of a pool in a state.
    Pool(SlotState, PoolKey),
    /// Those of a pool that are for anybody, and that nobody has used or somebody has.
    Warm(PoolKey, Use),
    /// Those that this tenant used last.
    Tenant(SlotState, PoolKey, Option<&'a Tenant>),
    /// Those that this function of this tenant used last.
    Function(SlotState, PoolKey, Option<&'a Tenant>, &'a FunctionKey),
}

/// Whether a slot was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Nobody has had it.
    New,
    /// Somebody has.
    Used,
}

impl Use {
    const fn mark(self) -> [u8; 8] {
        (self as u64).to_be_bytes()
    }
}

/// A parked slot, as far as the index tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// Its number.
    pub slot: SlotId,
    /// The tenant that used it last: a digest, cut short; zeros for none.
    pub tenant: [u8; 8],
    /// The function that it waits for, likewise.
    pub function: [u8; 8],
    /// Since when it waits, nanoseconds since the boot.
    pub since: u64,
    /// For how long, where its last user said so.
    pub idle_ttl: Option<Duration>,
}

impl Shelf<'_> {
    /// What the keys of its slots begin with.
    pub(super) fn prefix(self) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(LENGTH);
        match self {
            Shelf::State(state) => prefix.push(place(state)),
            Shelf::Pool(state, pool) => extend(&mut prefix, &[&[place(state)], &pool.0]),
            Shelf::Warm(pool, used) => {
                let state = place(SlotState::Warm);
                extend(&mut prefix, &[&[state], &pool.0, &[0; 8], &used.mark()]);
            }
            Shelf::Tenant(state, pool, tenant) => {
                let tenant = short(tenant.map(Tenant::as_str));
                extend(&mut prefix, &[&[place(state)], &pool.0, &tenant]);
            }
            Shelf::Function(state, pool, tenant, function) => {
                let tenant = short(tenant.map(Tenant::as_str));
                let function = short(Some(function.as_str()));
                extend(&mut prefix, &[&[place(state)], &pool.0, &tenant, &function]);
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
    let (tenant, function, changed) = if state.is_busy() {
        ([0; 8], [0; 8], 0)
    } else if state == SlotState::Warm {
        ([0; 8], if slot.used { Use::Used } else { Use::New }.mark(), slot.changed)
    } else {
        let tenant = short(slot.tenant.as_ref().map(Tenant::as_str));
        (tenant, short(slot.function.as_ref().map(FunctionKey::as_str)), slot.changed)
    };
    let (changed, id) = (changed.to_be_bytes(), slot.id.0.to_be_bytes());
    extend(&mut key, &[&[place(state)], &slot.pool.0, &tenant, &function, &changed, &id]);
    key
}

/// The value beside the key of a slot.
pub(super) fn value(slot: &Slot) -> Vec<u8> {
    let told = slot.idle_ttl.filter(|_| slot.state() == SlotState::Parked);
    let nanoseconds = told.map(|ttl| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX));
    nanoseconds.map_or_else(Vec::new, |nanoseconds| nanoseconds.to_le_bytes().to_vec())
}

/// The parked slot of a key and the value beside it.
pub(super) fn parked(key: &[u8], value: &[u8]) -> Option<Parked> {
    let field = |from: usize| key.get(from..from + 8)?.try_into().ok();
    Some(Parked {
        slot: slot(key)?,
        tenant: field(1 + 16)?,
        function: field(1 + 16 + 8)?,
        since: u64::from_be_bytes(field(1 + 16 + 8 + 8)?),
        idle_ttl: value.try_into().ok().map(u64::from_le_bytes).map(Duration::from_nanos),
    })
}

/// The states that are told apart.
fn place(state: SlotState) -> u8 {
    if state.is_busy() { SlotState::Active.number() } else { state.number() }
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
    use crate::types::PoolKey;

    #[test]
    fn a_key_begins_with_the_prefix_of_each_of_its_shelves() {
        let pool = PoolKey([7; 16]);
        let mut slot = Slot::building(SlotId(9), "n".parse().unwrap(), "eth0".parse().unwrap(), 5);
        slot.pool = pool;
        let (t, f, g) = ("t".parse().unwrap(), "f".parse().unwrap(), "g".parse().unwrap());
        slot.tenant = Some(Tenant::clone(&t));
        slot.function = Some(FunctionKey::clone(&f));
        let key = key(&slot);
        assert_eq!(key.len(), LENGTH);
        assert_eq!(super::slot(&key), Some(SlotId(9)));
        let state = SlotState::Building;
        for shelf in [
            Shelf::State(state),
            Shelf::Pool(state, pool),
            Shelf::Tenant(state, pool, Some(&t)),
            Shelf::Function(state, pool, Some(&t), &f),
        ] {
            assert!(key.starts_with(&shelf.prefix()), "{shelf:?}");
        }
        for shelf in [
            Shelf::State(SlotState::Warm),
            Shelf::Pool(state, PoolKey([8; 16])),
            Shelf::Tenant(state, pool, None),
            Shelf::Function(state, pool, Some(&t), &g),
        ] {
            assert!(!key.starts_with(&shelf.prefix()), "{shelf:?}");
        }
    }
}
