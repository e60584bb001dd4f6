//! The index of slots by what they are looked for by: state, pool and last user.
//!
//! Key: state (1 byte), pool (16), tenant (8), function (8), time of the last change (8, big-endian,
//! so that the slot that has rested longest comes first), slot (8). The value is empty. Tenant and
//! function are digests, cut short: whoever finds a slot by them compares the record's. Nobody looks
//! for slots that are claimed or active by more than their pool: both are in one place, with neither
//! user nor time, so that a slot is moved once when it is activated.

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
    /// Those that this tenant used last.
    Tenant(SlotState, PoolKey, Option<&'a Tenant>),
    /// Those that this function of this tenant used last.
    Function(SlotState, PoolKey, Option<&'a Tenant>, &'a FunctionKey),
}

impl Shelf<'_> {
    /// What the keys of its slots begin with.
    pub(super) fn prefix(self) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(LENGTH);
        let (Shelf::State(state)
        | Shelf::Pool(state, _)
        | Shelf::Tenant(state, ..)
        | Shelf::Function(state, ..)) = self;
        prefix.push(place(state));
        if let Shelf::Pool(_, pool) | Shelf::Tenant(_, pool, _) | Shelf::Function(_, pool, ..) =
            self
        {
            prefix.extend(pool.0);
        }
        if let Shelf::Tenant(_, _, tenant) | Shelf::Function(_, _, tenant, _) = self {
            prefix.extend(short(tenant.map(Tenant::as_str)));
        }
        if let Shelf::Function(.., function) = self {
            prefix.extend(short(Some(function.as_str())));
        }
        prefix
    }
}

/// The key of a slot.
pub(super) fn key(slot: &Slot) -> Vec<u8> {
    let mut key = Vec::with_capacity(LENGTH);
    key.push(place(slot.state()));
    key.extend(slot.pool.0);
    if slot.state().is_busy() {
        key.extend([0; 8 + 8 + 8]);
        key.extend(slot.id.0.to_be_bytes());
        return key;
    }
    key.extend(short(slot.tenant.as_ref().map(Tenant::as_str)));
    key.extend(short(slot.function.as_ref().map(FunctionKey::as_str)));
    key.extend(slot.changed.to_be_bytes());
    key.extend(slot.id.0.to_be_bytes());
    key
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
