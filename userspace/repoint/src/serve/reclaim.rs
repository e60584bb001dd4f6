//! Reclaims addresses and slots where they run out: slots that wait are deleted for new containers.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use super::select::{SlotRequest, find};
use crate::{
    conf::NetConf,
    failpoint,
    model::NetworkName,
    node::{Node, NodeError, age, now},
    pool::shortage::Shortage,
    retire::{ScrubOutcome, delete_slots, end_lingering, scrub},
    store::{Prefix, Slot, SlotState, StoreError},
};

/// How long a container waits for slots that are on their way to be ready, or gone.
const RECLAIM_TIMEOUT: Duration = Duration::from_secs(3);

/// Interval between looks at slots that other processes work on.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Interval between looks at slots that are still in use. Each look scans `/proc`.
const SETTLE_AGAIN: Duration = Duration::from_millis(50);

/// Returned slots that are scrubbed together.
const MOST_SETTLED: usize = 32;

/// How long deleting a slot takes at most, unless the process that deletes it is killed.
const DELETION: Duration = Duration::from_millis(500);

/// States of slots that make room if they are waited for.
const PROMISING: [SlotState; 5] = [
    SlotState::Scrubbing,
    SlotState::Building,
    SlotState::Deleting,
    SlotState::Warm,
    SlotState::Parked,
];

/// Makes room step by step, for one container of a network.
#[derive(Debug)]
pub(super) struct Reclaim<'a> {
    node: &'a Node,
    network: &'a NetworkName,
    cooldown: Duration,
    deadline: Instant,
    /// When the last scrub found all returned slots still in use.
    settled: Cell<Option<Instant>>,
    /// Whether the last look found no slot that may make room.
    found_none: Cell<bool>,
}

impl<'a> Reclaim<'a> {
    /// For a container of a network.
    pub(super) fn new(node: &'a Node, conf: &'a NetConf) -> Self {
        let deadline = Instant::now() + RECLAIM_TIMEOUT;
        let cooldown = conf.pool.and_then(|policy| policy.cooldown).unwrap_or_default();
        Self {
            node,
            network: &conf.name,
            cooldown,
            deadline,
            settled: Cell::new(None),
            found_none: Cell::new(false),
        }
    }

    /// Makes some room: scrubs a returned slot, deletes a slot that waits, or waits for other
    /// processes that do so. Returns whether another try may succeed.
    ///
    /// `wanted` is the container's request for a slot of a pool, if it has one. While a slot waits
    /// that fits the request, no slot is deleted.
    pub(super) fn make(
        &self,
        shortage: &Shortage,
        wanted: Option<&SlotRequest<'_>>,
    ) -> Result<bool, NodeError> {
        if Instant::now() >= self.deadline {
            return Ok(false);
        }
        let made = self.end_lingering(shortage)?
            || self.settle(shortage)?
            || self.evict(shortage, wanted)?
            || self.finish(shortage)?
            || self.wait(shortage)?;
        // A slot that was in the way may have been deleted since: the container tries once more.
        let had_found_none = self.found_none.replace(!made);
        Ok(made || !had_found_none)
    }

    /// No longer charges the tenant for namespaces that are gone.
    fn end_lingering(&self, shortage: &Shortage) -> Result<bool, NodeError> {
        Ok(matches!(shortage, Shortage::Tenant(_)) && end_lingering(self.node)? > 0)
    }

    /// Scrubs returned slots that no process or mount uses any more.
    fn settle(&self, shortage: &Shortage) -> Result<bool, NodeError> {
        if self.settled.get().is_some_and(|last| last.elapsed() < SETTLE_AGAIN) {
            return Ok(false);
        }
        let mut dirty = self.find_all(shortage, &[SlotState::Dirty], |_| true)?;
        dirty.truncate(MOST_SETTLED);
        if dirty.is_empty() {
            return Ok(false);
        }
        // A scrub that fails is left to other processes; there may be room without it.
        let outcomes = scrub(self.node, &dirty).unwrap_or_default();
        let settled =
            outcomes.iter().any(|(_, outcome)| !matches!(outcome, ScrubOutcome::InUse(_)));
        self.settled.set((!settled).then(Instant::now));
        Ok(settled)
    }

    /// Deletes the slot that has waited longest, parked ones first.
    fn evict(
        &self,
        shortage: &Shortage,
        wanted: Option<&SlotRequest<'_>>,
    ) -> Result<bool, NodeError> {
        for state in [SlotState::Parked, SlotState::Warm] {
            let Some(found) =
                self.find_which(shortage, &[state], |slot| self.is_out_of_cooldown(slot))?
            else {
                continue;
            };
            let slot = self.node.store.write(|transaction| {
                // A slot that fits the request may have come back since the last look. A tenant at
                // its limit gets no slot before this one is deleted.
                if let Some(wanted) = wanted.filter(|_| !matches!(shortage, Shortage::Tenant(_)))
                    && find(transaction, wanted)?.is_some()
                {
                    return Ok(None);
                }
                let current = transaction.unchanged(&found)?.filter(|slot| slot.state() == state);
                if let Some(slot) = &current {
                    transaction.advance(slot.id, SlotState::Deleting, now(), |_| ())?;
                }
                // The record as it was, which shows since when its addresses rest.
                Ok::<_, StoreError>(current)
            })?;
            failpoint::hit("reclaim:deleting");
            // A failed removal is no reason for this ADD to fail. If another ADD has claimed the
            // slot meanwhile, the next try looks for others.
            drop(delete_slots(self.node, slot.as_slice()));
            return Ok(true);
        }
        Ok(false)
    }

    /// Finishes the deletion of a slot that another process began and left.
    fn finish(&self, shortage: &Shortage) -> Result<bool, NodeError> {
        let is_left = |slot: &Slot| has_been_so_for(slot, DELETION);
        let left = self.find_which(shortage, &[SlotState::Deleting], is_left)?;
        // A failed removal is no reason for this ADD to fail.
        Ok(left.is_some() && delete_slots(self.node, left.as_slice()).is_ok())
    }

    /// Whether the cooldown of the slot's addresses is over, or never began.
    fn is_out_of_cooldown(&self, slot: &Slot) -> bool {
        !slot.used || has_been_so_for(slot, self.cooldown)
    }

    /// Waits a moment for slots that other processes build, scrub, delete or have just made ready.
    /// Returns whether there is one.
    fn wait(&self, shortage: &Shortage) -> Result<bool, NodeError> {
        let found = self.find(shortage, &PROMISING)?.is_some();
        if found {
            thread::park_timeout(LOOK_AGAIN);
        }
        Ok(found)
    }

    /// The slot of the network that has been longest in one of these states. No container has it,
    /// and it has what is lacking. One transaction reads all the states, so that it finds a slot
    /// that changes between two of them.
    fn find(&self, shortage: &Shortage, states: &[SlotState]) -> Result<Option<Slot>, NodeError> {
        self.find_which(shortage, states, |_| true)
    }

    /// As [`Self::find`], among slots that also `fit`.
    fn find_which(
        &self,
        shortage: &Shortage,
        states: &[SlotState],
        fits: impl Fn(&Slot) -> bool,
    ) -> Result<Option<Slot>, NodeError> {
        Ok(self.find_all(shortage, states, fits)?.into_iter().next())
    }

    /// All slots that [`Self::find`] chooses from, beginning with the longest in its state.
    fn find_all(
        &self,
        shortage: &Shortage,
        states: &[SlotState],
        fits: impl Fn(&Slot) -> bool,
    ) -> Result<Vec<Slot>, NodeError> {
        let has = |slot: &Slot| match shortage {
            Shortage::Any => true,
            Shortage::Address(wanted) => slot.addresses.iter().any(|own| own.addr() == *wanted),
            Shortage::Tenant(tenant) => slot.tenant.as_ref() == Some(tenant),
        };
        let fits = |slot: &Slot| {
            slot.network == *self.network && slot.container.is_none() && has(slot) && fits(slot)
        };
        let mut found = Vec::new();
        self.node.store.read(|transaction| {
            for state in states {
                for id in transaction.indexed(Prefix::State(*state))? {
                    found.extend(transaction.slot(id?)?.filter(&fits));
                }
            }
            Ok::<_, StoreError>(())
        })?;
        found.sort_by_key(|slot| slot.changed);
        Ok(found)
    }
}

fn has_been_so_for(slot: &Slot, time: Duration) -> bool {
    age(slot.changed, now()) >= time
}
