//! Pools as a whole: what is on record of them, and giving up what they have no use for.

use super::{LifecycleError, Node, Outcome, destroy::destroy, node::now};
use crate::{
    policy::Supply,
    store::{PoolId, Shelf, Slot, SlotState, StoreError, Write},
    types::PoolKey,
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
    let slots = node.store.write(|transaction| {
        let ids: Vec<_> = transaction
            .on_shelf(Shelf::Pool(state, key))?
            .take(count as usize)
            .collect::<Result<_, _>>()?;
        let slots = ids.into_iter().map(|id| condemn(transaction, id));
        slots.collect::<Result<Vec<_>, StoreError>>()
    })?;
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
    if stale.is_empty() {
        return Ok(0);
    }
    let slots = node.store.write(|transaction| {
        let mut slots = Vec::new();
        for id in stale {
            // One that was claimed meanwhile is in use.
            let waits = |slot: &Slot| matches!(slot.state(), SlotState::Warm | SlotState::Parked);
            if transaction.slot(id)?.is_some_and(|slot| waits(&slot)) {
                slots.push(condemn(transaction, id)?);
            }
        }
        Ok::<_, StoreError>(slots)
    })?;
    let number = slots.len();
    destroy(node, &slots)?;
    Ok(number)
}

/// Gives up what a builder or remover left that was killed: slots that nobody asked for by name and
/// that have been on their way for longer than `after`, in nanoseconds.
pub fn give_up_abandoned(node: &Node, after: u64) -> Result<usize, LifecycleError> {
    let abandoned = node.store.read(|transaction| {
        let mut abandoned = Vec::new();
        for state in [SlotState::Building, SlotState::Condemned] {
            for id in transaction.on_shelf(Shelf::State(state))? {
                let slot = transaction.slot(id?)?;
                abandoned.extend(slot.filter(|slot| {
                    slot.owns_netns
                        && slot.container.is_none()
                        && now().saturating_sub(slot.changed) > after
                }));
            }
        }
        Ok::<_, StoreError>(abandoned)
    })?;
    let number = abandoned.len();
    destroy(node, &abandoned)?;
    Ok(number)
}

/// Has slots scrubbed again whose scrubbing was interrupted. For the only process that scrubs.
pub fn resume_scrubbing(node: &Node) -> Result<(), LifecycleError> {
    Ok(node.store.write(|transaction| {
        let ids: Vec<_> =
            transaction.on_shelf(Shelf::State(SlotState::Scrubbing))?.collect::<Result<_, _>>()?;
        for id in ids {
            let since = transaction.slot(id)?.map_or_else(now, |slot| slot.changed);
            transaction.advance(id, SlotState::Dirty, since, |_| ())?;
        }
        Ok::<_, StoreError>(())
    })?)
}

fn condemn(transaction: &mut Write<'_>, id: crate::types::SlotId) -> Result<Slot, StoreError> {
    transaction.advance(id, SlotState::Condemned, now(), |_| ())
}
