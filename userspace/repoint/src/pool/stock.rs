//! Counts the slots of pools, and deletes those that they do not need.

use super::{
    refill::Supply,
    retention::{Eviction, Reason},
};
use crate::{
    model::{Outcome, PoolId, PoolKey, SlotId},
    node::{Node, NodeError},
    retire::{ScrubLock, delete_slots},
    store::{Parked, Pool, Prefix, Slot, SlotState, StoreError, Write},
};

/// Number of a pool's slots by state, without slots of other configurations.
pub fn supply(node: &Node, key: PoolKey) -> Result<Supply, NodeError> {
    Ok(node.store.read(|transaction| {
        let mut supply = Supply::default();
        for state in SlotState::COUNTED {
            supply.add(state, transaction.count(Prefix::Pool(state, key))?);
        }
        Ok::<_, StoreError>(supply)
    })?)
}

/// How many slots of a pool there are.
pub(crate) fn total(transaction: &Write<'_>, key: PoolKey) -> Result<u32, StoreError> {
    SlotState::COUNTED
        .into_iter()
        .try_fold(0, |total, state| Ok(total + transaction.count(Prefix::Pool(state, key))?))
}

impl Node {
    /// What a pool has now, and which of its slots are parked.
    pub fn stock(&self, pool: &Pool) -> Result<(Supply, Vec<Parked>), NodeError> {
        Ok(self.store.read(|transaction| {
            let parked = transaction.parked(pool.key)?;
            let mut supply = Supply::default();
            supply.add(SlotState::Parked, u32::try_from(parked.len()).unwrap_or(u32::MAX));
            for state in SlotState::COUNTED {
                // These may be thousands, and have just been read.
                if state != SlotState::Parked {
                    supply.add(state, transaction.count(Prefix::Pool(state, pool.key))?);
                }
            }
            Ok::<_, StoreError>((supply, parked))
        })?)
    }

    /// Deletes the parked slots that still wait. Returns the reason for each deletion.
    pub fn evict_slots(&self, evictions: &[Eviction]) -> Result<Vec<Reason>, NodeError> {
        let waits = |slot: &Slot, since| slot.state() == SlotState::Parked && slot.changed == since;
        let waiting = self.store.read(|transaction| {
            let mut waiting = Vec::with_capacity(evictions.len());
            for Eviction { slot, since, .. } in evictions {
                waiting.extend(transaction.slot(*slot)?.filter(|slot| waits(slot, *since)));
            }
            Ok::<_, StoreError>(waiting)
        })?;
        let deleted = delete_slots(self, &waiting)?;
        let is_deleted = |one: &&Eviction| deleted.contains(&one.slot);
        Ok(evictions.iter().filter(is_deleted).map(|one| one.reason).collect())
    }
}

/// Number of ADDs that needed a warm slot since the pool was recorded. A function that gets its own
/// slot back does not count.
pub fn demanded(node: &Node, pool: &PoolId) -> Result<u64, NodeError> {
    let counters = node.store.read(|transaction| transaction.counters(pool))?;
    Ok(counters
        .iter()
        .filter(|(label, _)| {
            let outcome = Outcome::of_label(label);
            matches!(outcome, Some(Outcome::Warm | Outcome::Built))
        })
        .map(|(_, count)| count)
        .sum())
}

/// Deletes `count` slots of a pool in `state`, beginning with the longest wait. Returns the number
/// deleted, without slots that an ADD claimed meanwhile.
pub fn delete_oldest(
    node: &Node,
    key: PoolKey,
    state: SlotState,
    count: u32,
) -> Result<usize, NodeError> {
    let mut oldest = waiting(node, Prefix::Pool(state, key), |_| true)?;
    oldest.sort_unstable_by_key(|slot| (slot.changed, slot.id));
    oldest.truncate(count as usize);
    Ok(delete_slots(node, &oldest)?.len())
}

/// Deletes all slots of a pool that wait, likewise.
pub fn drain(node: &Node, key: PoolKey) -> Result<usize, NodeError> {
    let mut number = 0;
    for state in [SlotState::Warm, SlotState::Parked] {
        number += delete_oldest(node, key, state, u32::MAX)?;
    }
    Ok(number)
}

/// Deletes the waiting slots that are stale, likewise.
pub fn delete_stale(node: &Node, is_stale: impl Fn(&Slot) -> bool) -> Result<usize, NodeError> {
    let mut stale = Vec::new();
    for state in [SlotState::Warm, SlotState::Parked] {
        stale.extend(waiting(node, Prefix::State(state), &is_stale)?);
    }
    Ok(delete_slots(node, &stale)?.len())
}

/// The slots in a place of the index that are `wanted`.
fn waiting(
    node: &Node,
    place: Prefix<'_>,
    wanted: impl Fn(&Slot) -> bool,
) -> Result<Vec<Slot>, NodeError> {
    Ok(node.store.read(|transaction| {
        let mut waiting = Vec::new();
        for id in transaction.indexed(place)? {
            waiting.extend(transaction.slot(id?)?.filter(&wanted));
        }
        Ok::<_, StoreError>(waiting)
    })?)
}

/// Has slots scrubbed again whose scrub was interrupted: no process has their lock.
pub fn resume_scrubbing(node: &Node) -> Result<(), NodeError> {
    let scrubbing: Vec<SlotId> = node.store.read(|transaction| {
        transaction.indexed(Prefix::State(SlotState::Scrubbing))?.collect::<Result<_, _>>()
    })?;
    scrubbing.into_iter().try_for_each(|id| resume(node, id).map(drop))
}

/// Has a slot scrubbed again unless its scrub lock is taken. Returns whether it is.
pub(crate) fn resume(node: &Node, id: SlotId) -> Result<bool, NodeError> {
    let Some(_lock) = ScrubLock::take(&node.directories.run, id)? else {
        return Ok(false);
    };
    Ok(node.store.write(|transaction| {
        let slot = transaction.slot(id)?;
        let Some(slot) = slot.filter(|slot| slot.state() == SlotState::Scrubbing) else {
            return Ok(false);
        };
        // The time of parking stays on record: `IN_USE_TIMEOUT` counts from it.
        transaction.advance(id, SlotState::Dirty, slot.changed, |_| ())?;
        Ok::<_, StoreError>(true)
    })?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        conf::Directories,
        model::{PoolOverride, PoolPolicy},
        node::now,
        pool::evictions,
        store::SlotKind,
    };

    const SECOND: u64 = 1_000_000_000;

    fn pool() -> Pool {
        Pool {
            key: PoolKey([7; 16]),
            conf: Vec::new(),
            template: None,
            template_owner: None,
            fingerprint: None,
            configured: PoolPolicy::default(),
            set: PoolOverride::default(),
        }
    }

    /// Slots of a function that were parked these many seconds ago.
    fn park(node: &Node, pool: &Pool, ages: &[u64], now: u64) -> Vec<SlotId> {
        let parked = node.store.write(|transaction| {
            let mut parked = Vec::new();
            for age in ages {
                let (id, since) = (transaction.next_slot_id()?, now - age * SECOND);
                let (network, ifname) = ("n".parse().unwrap(), "eth0".parse().unwrap());
                let mut slot = Slot::building(id, network, ifname, since);
                slot.kind = SlotKind::Pooled { pool: pool.key };
                transaction.put_slot(&slot)?;
                transaction.advance(id, SlotState::Parked, since, |slot| {
                    slot.used = true;
                    slot.function = Some("f".parse().unwrap());
                    slot.tenant = Some("t".parse().unwrap());
                    slot.idle_ttl = Some(Duration::from_secs(30));
                })?;
                parked.push(id);
            }
            Ok::<_, StoreError>(parked)
        });
        parked.unwrap()
    }

    fn node(folder: &std::path::Path) -> Node {
        let run = folder.to_owned();
        Node::open(&Directories { run, ..Directories::default() }).unwrap()
    }

    #[test]
    fn what_waited_too_long_is_deleted_unless_it_was_claimed_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (node, pool, now) = (node(folder.path()), pool(), now());
        let ids = park(&node, &pool, &[90, 80, 70], now);
        let (supply, parked) = node.stock(&pool).unwrap();
        assert_eq!(supply, Supply { warm: 0, parked: 3, total: 3 });
        let evictions = evictions(&parked, now, &pool.policy(), 0);
        let named: Vec<_> = evictions.iter().map(|one| one.slot).collect();
        assert_eq!(named, ids);
        // Its function came, and it is back since.
        let advance = |id, state| {
            let advanced =
                node.store.write(|transaction| transaction.advance(id, state, now, |_| ()));
            advanced.unwrap();
        };
        for state in [SlotState::Claimed, SlotState::Active, SlotState::Dirty] {
            advance(ids[0], state);
        }
        for state in [SlotState::Scrubbing, SlotState::Parked] {
            advance(ids[0], state);
        }
        advance(ids[1], SlotState::Claimed);
        assert_eq!(node.evict_slots(&evictions).unwrap(), [Reason::Idle]);
        let state = |id| {
            node.store.read(|transaction| transaction.slot(id)).unwrap().map(|slot| slot.state())
        };
        let states: Vec<_> = ids.iter().map(|id| state(*id)).collect();
        assert_eq!(states, [Some(SlotState::Parked), Some(SlotState::Claimed), None]);
    }
}
