//! Pools as a whole: what is on record of them, and giving up what they have no use for.

use std::time::Duration;

use super::{
    LifecycleError, Node, Outcome, ScrubLock,
    destroy::{BATCH, destroy},
    node::now,
};
use crate::{
    failpoint,
    policy::{Disposal, Need, Reason, Retirement, Stock, Supply},
    store::{
        Parked, Pool, PoolId, PoolPolicy, Read, Shelf, Slot, SlotState, StoreError, Use, Write,
    },
    types::{PoolKey, SlotId},
};

/// How many slots of a pool are in which state, those of other configurations left out.
pub fn supply(node: &Node, key: PoolKey) -> Result<Supply, LifecycleError> {
    Ok(node.store.read(|transaction| {
        let mut supply = Supply::default();
        for state in SlotState::COUNTED {
            supply.add(state, transaction.count(Shelf::Pool(state, key))?);
        }
        Ok::<_, StoreError>(supply)
    })?)
}

/// How many slots of a pool there are.
pub(super) fn total(transaction: &Write<'_>, key: PoolKey) -> Result<u32, StoreError> {
    SlotState::COUNTED
        .into_iter()
        .try_fold(0, |total, state| Ok(total + transaction.count(Shelf::Pool(state, key))?))
}

impl Node {
    /// What a pool has now, and which of its slots are parked.
    pub fn stock(&self, pool: &Pool) -> Result<(Stock, Vec<Parked>), LifecycleError> {
        Ok(self.store.read(|transaction| {
            let parked = transaction.parked(pool.key)?;
            let mut supply = Supply::default();
            supply.add(SlotState::Parked, u32::try_from(parked.len()).unwrap_or(u32::MAX));
            for state in SlotState::COUNTED {
                // These may be thousands, and have just been read.
                if state != SlotState::Parked {
                    supply.add(state, transaction.count(Shelf::Pool(state, pool.key))?);
                }
            }
            let resting = resting(transaction, pool.key, pool.policy().cooldown)?;
            Ok::<_, StoreError>((Stock { supply, resting }, parked))
        })?)
    }

    /// Retires parked slots of a pool, as far as they wait still: those that it needs are ready for
    /// anybody then, the others are given up. Says what became of each, and why.
    pub fn retire(
        &self,
        pool: &Pool,
        retirements: &[Retirement],
        mut need: Need,
    ) -> Result<Vec<(Reason, Disposal)>, LifecycleError> {
        if retirements.is_empty() {
            return Ok(Vec::new());
        }
        let policy = pool.policy();
        let retired = self.store.write(|transaction| {
            let mut retired = Vec::with_capacity(retirements.len());
            for retirement in retirements {
                let retire = retire(transaction, retirement, &policy, &mut need)?;
                retired.extend(retire.map(|(slot, disposal)| (slot, retirement.reason, disposal)));
            }
            Ok::<_, StoreError>(retired)
        })?;
        failpoint::hit("retire:recorded");
        let condemned = |(slot, _, disposal): &(Slot, Reason, Disposal)| {
            (*disposal == Disposal::GivenUp).then(|| slot.clone())
        };
        destroy(self, &retired.iter().filter_map(condemned).collect::<Vec<_>>())?;
        Ok(retired.into_iter().map(|(_, reason, disposal)| (reason, disposal)).collect())
    }
}

/// How many of a pool's warm slots somebody has used who left less than `cooldown` ago.
fn resting(transaction: &Read<'_>, key: PoolKey, cooldown: Duration) -> Result<u32, StoreError> {
    if cooldown.is_zero() {
        return Ok(0);
    }
    let (now, mut resting) = (now(), 0);
    for slot in transaction.since(Shelf::Warm(key, Use::Used))? {
        let (_, since) = slot?;
        resting += u32::from(u128::from(now.saturating_sub(since)) < cooldown.as_nanos());
    }
    Ok(resting)
}

/// Retires one slot; not where somebody has had it since.
fn retire(
    transaction: &mut Write<'_>,
    retirement: &Retirement,
    policy: &PoolPolicy,
    need: &mut Need,
) -> Result<Option<(Slot, Disposal)>, StoreError> {
    let waits = |slot: &Slot| slot.state() == SlotState::Parked && slot.changed == retirement.since;
    let Some(slot) = transaction.slot(retirement.slot)?.filter(waits) else {
        return Ok(None);
    };
    let disposal = need.dispose(policy, slot.scope, slot.changed, now());
    let slot = match disposal {
        // The time stays that of its parking: its addresses rest since then.
        Disposal::Recycled => {
            transaction.advance(slot.id, SlotState::Warm, slot.changed, |slot| {
                slot.function = None;
                slot.tenant = None;
                slot.idle_ttl = None;
            })?
        }
        Disposal::GivenUp => condemn(transaction, slot.id)?,
    };
    Ok(Some((slot, disposal)))
}

/// How many ADDs wanted a slot that is ready for anybody, since the pool is on record: a function
/// that gets its own back does not.
pub fn demanded(node: &Node, pool: &PoolId) -> Result<u64, LifecycleError> {
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

/// Gives up `count` slots of a pool that wait in `state`, those that have rested longest first.
pub fn give_up(
    node: &Node,
    key: PoolKey,
    state: SlotState,
    count: u32,
) -> Result<usize, LifecycleError> {
    node.ensure_home()?;
    let slots = node.store.write(|transaction| {
        // The index has them by tenant and function, or by whether they were used.
        let mut oldest: Vec<_> =
            transaction.since(Shelf::Pool(state, key))?.collect::<Result<_, _>>()?;
        oldest.sort_unstable_by_key(|(id, since)| (*since, *id));
        let oldest = oldest.into_iter().take(count as usize);
        let slots = oldest.map(|(id, _)| condemn(transaction, id));
        slots.collect::<Result<Vec<_>, StoreError>>()
    })?;
    failpoint::hit("give-up:condemned");
    let number = slots.len();
    destroy(node, &slots)?;
    Ok(number)
}

/// Gives up the waiting slots that `is_stale` says so of.
pub fn give_up_stale(
    node: &Node,
    is_stale: impl Fn(&Slot) -> bool,
) -> Result<usize, LifecycleError> {
    let stale = node.store.read(|transaction| {
        let mut stale = Vec::new();
        for state in [SlotState::Warm, SlotState::Parked] {
            for id in transaction.on_shelf(Shelf::State(state))? {
                let slot = transaction.slot(id?)?;
                stale.extend(slot.filter(&is_stale).map(|slot| slot.id));
            }
        }
        Ok::<_, StoreError>(stale)
    })?;
    if !stale.is_empty() {
        node.ensure_home()?;
    }
    let mut number = 0;
    for batch in stale.chunks(BATCH) {
        let slots = node.store.write(|transaction| condemn_waiting(transaction, batch))?;
        failpoint::hit("give-up:stale");
        number += slots.len();
        destroy(node, &slots)?;
    }
    Ok(number)
}

/// Marks slots given up, but for those that were claimed meanwhile: they are in use.
fn condemn_waiting(transaction: &mut Write<'_>, batch: &[SlotId]) -> Result<Vec<Slot>, StoreError> {
    let mut slots = Vec::with_capacity(batch.len());
    for id in batch {
        let waits = |slot: &Slot| matches!(slot.state(), SlotState::Warm | SlotState::Parked);
        if transaction.slot(*id)?.is_some_and(|slot| waits(&slot)) {
            slots.push(condemn(transaction, *id)?);
        }
    }
    Ok(slots)
}

/// Has slots scrubbed again whose scrubbing was interrupted: nobody has the lock on them.
pub fn resume_scrubbing(node: &Node) -> Result<(), LifecycleError> {
    let scrubbing: Vec<SlotId> = node.store.read(|transaction| {
        transaction.on_shelf(Shelf::State(SlotState::Scrubbing))?.collect::<Result<_, _>>()
    })?;
    scrubbing.into_iter().try_for_each(|id| resume(node, id).map(drop))
}

/// Has a slot scrubbed again unless somebody is at it. Says whether it will be.
pub(crate) fn resume(node: &Node, id: SlotId) -> Result<bool, LifecycleError> {
    let Some(_lock) = ScrubLock::take(&node.directories.run, id)? else {
        return Ok(false);
    };
    Ok(node.store.write(|transaction| {
        let slot = transaction.slot(id)?;
        let Some(slot) = slot.filter(|slot| slot.state() == SlotState::Scrubbing) else {
            return Ok(false);
        };
        // The time stays that of its parking, so that patience ends.
        transaction.advance(id, SlotState::Dirty, slot.changed, |_| ())?;
        Ok::<_, StoreError>(true)
    })?)
}

fn condemn(transaction: &mut Write<'_>, id: SlotId) -> Result<Slot, StoreError> {
    transaction.advance(id, SlotState::Condemned, now(), |_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conf::Directories, policy::retire, store::PoolOverride};

    const SECOND: u64 = 1_000_000_000;

    fn pool() -> Pool {
        Pool {
            key: PoolKey([7; 16]),
            conf: Vec::new(),
            template: [0; 32],
            template_owner: None,
            fingerprint: [0; 32],
            configured: PoolPolicy { cooldown: Duration::from_mins(1), ..PoolPolicy::default() },
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
                slot.pool = pool.key;
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

    fn record(node: &Node, id: SlotId) -> Slot {
        node.store.read(|transaction| transaction.slot(id)).unwrap().unwrap()
    }

    #[test]
    fn what_waited_too_long_is_anybodys_unless_it_was_claimed_meanwhile_or_still_rests() {
        let folder = tempfile::tempdir().unwrap();
        let (node, pool, now) = (node(folder.path()), pool(), now());
        let ids = park(&node, &pool, &[90, 80, 70], now);
        let (stock, parked) = node.stock(&pool).unwrap();
        assert_eq!(stock.supply, Supply { warm: 0, parked: 3, total: 3 });
        let retirements = retire(&parked, now, &pool.policy(), 0);
        let named: Vec<_> = retirements.iter().map(|one| one.slot).collect();
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
        let need = Need { excess: 0, lack: 5 };
        let retired = node.retire(&pool, &retirements, need).unwrap();
        assert_eq!(retired, [(Reason::Idle, Disposal::Recycled)]);
        let states = ids.iter().map(|id| record(&node, *id).state()).collect::<Vec<_>>();
        assert_eq!(states, [SlotState::Parked, SlotState::Claimed, SlotState::Warm]);
        let recycled = record(&node, ids[2]);
        assert_eq!((recycled.function, recycled.tenant, recycled.idle_ttl), (None, None, None));
        assert_eq!((recycled.changed, recycled.used), (now - 70 * SECOND, true));
        assert_eq!(node.stock(&pool).unwrap().0.resting, 0);
    }

    #[test]
    fn used_slots_are_not_ready_before_they_have_rested() {
        let folder = tempfile::tempdir().unwrap();
        let (node, mut pool, now) = (node(folder.path()), pool(), now());
        for id in park(&node, &pool, &[90, 20, 10], now) {
            let since = record(&node, id).changed;
            let warm = |transaction: &mut Write<'_>| {
                transaction.advance(id, SlotState::Warm, since, |_| ())
            };
            node.store.write(warm).unwrap();
        }
        let (stock, _) = node.stock(&pool).unwrap();
        assert_eq!((stock.supply.warm, stock.resting, stock.ready()), (3, 2, 1));
        pool.configured.cooldown = Duration::ZERO;
        assert_eq!(node.stock(&pool).unwrap().0.ready(), 3);
    }
}
