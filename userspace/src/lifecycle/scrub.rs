//! Bringing slots that somebody used back to what they were, or giving them up.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use super::{
    LifecycleError, Node, ScrubLock, activate::pool_of_slot, destroy::destroy,
    in_force::pool_template, node::now,
};
use crate::{
    conf::NetConf,
    failpoint,
    slot::{Fingerprint, Scrubbed, User, host_end_difference, scrub as scrub_netns, users},
    store::{Mode, Pool, Scope, Slot, SlotState, StoreError, Write},
    template::{NetworkConfig, NodeContext},
    types::SlotId,
};

/// How long a slot may stay in use after it was parked: runtimes that take the network away before
/// they stop the containers give those 30 s by default.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Slots that are scrubbed at a time.
const WORKERS: usize = 8;

/// What became of a slot.
#[derive(Debug)]
pub enum Fate {
    /// It is ready again.
    Ready {
        /// Ready for whom: warm or parked.
        state: SlotState,
        /// What had to be repaired.
        repaired: Vec<String>,
    },
    /// Somebody uses it still: it is to be tried again.
    InUse(User),
    /// It was given up, for this reason.
    GivenUp(String),
}

/// Scrubs one slot, if it is dirty and nobody uses it.
pub(super) fn scrub_now(node: &Node, id: SlotId) -> Result<(), LifecycleError> {
    let slot = node.store.read(|transaction| transaction.slot(id))?;
    match slot {
        Some(slot) => scrub(node, &[slot]).map(drop),
        None => Ok(()),
    }
}

/// Scrubs slots, some at a time, and says what became of each. What is not dirty is passed over, and
/// so is what somebody else scrubs.
///
/// Scrubbing is mostly waiting, for the kernel to forget sockets that were closed a moment ago.
pub fn scrub(node: &Node, slots: &[Slot]) -> Result<Vec<(SlotId, Fate)>, LifecycleError> {
    let hidden = node.hidden()?;
    let namespaces: Vec<_> = slots.iter().filter_map(|slot| slot.netns).collect();
    let users = users(&namespaces, Some(hidden.inode()?.inode))?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut ends = Vec::new();
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let user = slot.netns.and_then(|netns| users.get(&netns));
            ends.push((slot.id, scrub_alone(node, slot, user)));
        }
        ends
    };
    // Threads of their own, since they go in and out of namespaces.
    let ends: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..slots.len().min(WORKERS)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let (mut told, mut doomed, mut failure) = (Vec::with_capacity(ends.len()), Vec::new(), None);
    for (id, end) in ends {
        match end {
            Ok(Some((fate, condemned))) => {
                told.push((id, fate));
                doomed.extend(condemned);
            }
            Ok(None) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    destroy(node, &doomed)?;
    failure.map_or(Ok(told), Err)
}

/// What became of a slot, and the slot if it is given up: it is to be removed.
type End = (Fate, Option<Slot>);

/// Scrubs a slot that no process is in, but for this `user`; none where it is not dirty any more, or
/// somebody else is at it.
fn scrub_alone(
    node: &Node,
    slot: &Slot,
    user: Option<&User>,
) -> Result<Option<End>, LifecycleError> {
    let Some(_lock) = ScrubLock::take(&node.directories.run, slot.id)? else {
        return Ok(None);
    };
    let fate = match user {
        Some(_) if is_out_of_patience(slot) => {
            Fate::GivenUp(format!("still in use after {PATIENCE:?}"))
        }
        Some(user) => return Ok(Some((Fate::InUse(user.clone()), None))),
        None => {
            if !begin(node, slot)? {
                return Ok(None);
            }
            failpoint::hit("scrub:begun");
            // What cannot be scrubbed is given up: nobody would try it again.
            scrub_begun(node, slot).unwrap_or_else(|error| Fate::GivenUp(error.to_string()))
        }
    };
    failpoint::hit("scrub:done");
    let condemned = end(node, slot, &fate)?;
    failpoint::hit("scrub:recorded");
    Ok(Some((fate, condemned)))
}

fn is_out_of_patience(slot: &Slot) -> bool {
    u128::from(now().saturating_sub(slot.changed)) > PATIENCE.as_nanos()
}

fn scrub_begun(node: &Node, slot: &Slot) -> Result<Fate, LifecycleError> {
    let given_up = |reason: &str| Ok(Fate::GivenUp(reason.to_owned()));
    let pool = node.store.read(|transaction| transaction.pool(&pool_of_slot(slot)))?;
    let Some(pool) = pool else {
        return given_up("its pool is gone");
    };
    let Some(state) = destination(slot, &pool) else {
        return given_up("its pool has no use for it");
    };
    if let Some(difference) = host_end_difference(slot)? {
        return Ok(Fate::GivenUp(difference));
    }
    let encoded = node.store.read(|transaction| transaction.fingerprint(&slot.fingerprint))?;
    let Some(expected) = encoded.and_then(|encoded| Fingerprint::decode(&encoded).ok()) else {
        return given_up("its fingerprint is not on record");
    };
    let netns = node.hidden()?.netns(slot.id)?;
    if slot.netns != Some(netns.inode()) {
        return given_up("its namespace is another's by now");
    }
    Ok(match scrub_netns(slot, &configuration(node, slot, &pool)?, &netns, &expected) {
        Ok(Scrubbed::Clean { repaired }) => Fate::Ready { state, repaired },
        Ok(Scrubbed::InUse(user)) => Fate::InUse(user),
        Ok(Scrubbed::Different(difference)) => Fate::GivenUp(difference.to_string()),
        Err(error) => Fate::GivenUp(error.to_string()),
    })
}

/// What the slot was built as.
fn configuration(node: &Node, slot: &Slot, pool: &Pool) -> Result<NetworkConfig, LifecycleError> {
    let stored = slot.template_name.is_some().then_some(&slot.template);
    let template = pool_template(node, &NetConf::parse(&pool.conf)?, stored)?;
    let context = NodeContext { addresses: slot.addresses.clone(), mtu: slot.mtu };
    Ok(template.instantiate(&context))
}

/// Records that a dirty slot is being scrubbed; not where it is not dirty, or a runtime has it still, or
/// has had it since it was seen: who used it before is proved to be gone, and not who used it then.
pub(super) fn begin(node: &Node, slot: &Slot) -> Result<bool, LifecycleError> {
    node.store.write(|transaction| {
        let current = transaction.unchanged(slot)?;
        let Some(current) = current.filter(|slot| is_ours(slot, &[SlotState::Dirty])) else {
            return Ok(false);
        };
        // The time stays that of its parking, so that patience ends.
        transaction.advance(slot.id, SlotState::Scrubbing, current.changed, |_| ())?;
        Ok(true)
    })
}

/// Records what became of it. Gives the slot if it is given up.
fn end(node: &Node, slot: &Slot, fate: &Fate) -> Result<Option<Slot>, LifecycleError> {
    node.store.write(|transaction| {
        let current = transaction.unchanged(slot)?;
        let ours = |slot: &Slot| is_ours(slot, &[SlotState::Scrubbing, SlotState::Dirty]);
        let Some(current) = current.filter(ours) else {
            // Somebody has given it up meanwhile.
            return Ok(None);
        };
        match fate {
            Fate::Ready { state, .. } => record_ready(transaction, slot.id, *state, now())?,
            Fate::InUse(_) => {
                transaction.advance(slot.id, SlotState::Dirty, current.changed, |_| ())?;
            }
            Fate::GivenUp(_) => {
                return Ok(Some(transaction.advance(
                    slot.id,
                    SlotState::Condemned,
                    now(),
                    |_| (),
                )?));
            }
        }
        Ok(None)
    })
}

/// Whether nobody has a slot but who scrubs it.
fn is_ours(slot: &Slot, states: &[SlotState]) -> bool {
    states.contains(&slot.state()) && slot.container.is_none()
}

/// Records where a scrubbed slot waits, and for whom.
pub(super) fn record_ready(
    transaction: &mut Write<'_>,
    id: SlotId,
    state: SlotState,
    when: u64,
) -> Result<(), StoreError> {
    let advanced = transaction.advance(id, state, when, |slot| {
        if state == SlotState::Warm {
            slot.tenant = None;
        }
        if state == SlotState::Warm || !keeps_function(slot) {
            slot.function = None;
        }
    });
    advanced.map(drop)
}

/// Where a scrubbed slot waits; none: nobody may have it.
pub(super) fn destination(slot: &Slot, pool: &Pool) -> Option<SlotState> {
    if pool.key != slot.pool {
        return None;
    }
    match slot.scope.min(pool.configured.scope) {
        // Who wants a new instance would get none while those are kept that he had before.
        _ if slot.mode == Mode::Replicate => None,
        _ if keeps_function(slot) => Some(SlotState::Parked),
        Scope::Tenant => Some(SlotState::Parked),
        Scope::Network => Some(SlotState::Warm),
        Scope::Function => None,
    }
}

/// Whether a slot waits for the function that had it.
fn keeps_function(slot: &Slot) -> bool {
    slot.function.is_some() && slot.mode == Mode::Reuse
}
