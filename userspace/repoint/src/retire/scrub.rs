//! Slots that came back: scrubbed for the next container of their trust domain, or deleted where no
//! container may have them any more.

use std::{
    collections::HashMap,
    iter,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use super::{delete::delete_slots, scrub_lock::ScrubLock};
use crate::{
    conf::NetConf,
    failpoint,
    model::SlotId,
    node::{Node, NodeError, age, effective::pool_template, halves::ensure_half, now},
    slot::{Scrubbed, User, host_residue, scrub as scrub_netns, users},
    store::{Access, Pool, Prefix, Slot, SlotState, StoreError, Transaction, Write},
    template::{NetworkConfig, NodeContext},
    threads::{self, ThreadError},
};

/// How long a slot may stay in use after it was parked. Runtimes that send DEL before they stop a
/// container give its processes 30 s by default.
pub const IN_USE_TIMEOUT: Duration = Duration::from_mins(1);

/// Slots that are scrubbed at a time.
const WORKERS: usize = 8;

/// What became of a slot.
#[derive(Debug)]
pub enum ScrubOutcome {
    /// It waits for its trust domain again.
    Ready {
        /// What had to be repaired.
        repaired: Vec<String>,
    },
    /// It is in use still: the scrub is to be tried again.
    InUse(User),
    /// No container may have it any more, and it is deleted.
    Unwanted,
    /// It is deleted, because it could not be brought back to what it was.
    Deleted(String),
}

/// Scrubs one slot, if it is dirty and no process or mount uses it.
pub(super) fn scrub_now(node: &Node, id: SlotId) -> Result<(), NodeError> {
    let slot = node.store.read(|transaction| transaction.slot(id))?;
    match slot {
        Some(slot) => scrub(node, &[slot]).map(drop),
        None => Ok(()),
    }
}

/// Scrubs slots, some at a time, and returns the result for each. Slots that are not dirty, or that
/// another process scrubs, are skipped. Slots that no container may have again are deleted without
/// a check, even with processes inside.
pub fn scrub(node: &Node, slots: &[Slot]) -> Result<Vec<(SlotId, ScrubOutcome)>, NodeError> {
    let (wanted, unwanted) = sort(node, slots)?;
    let deleted = delete_slots(node, &unwanted);
    let mut outcomes: Vec<_> =
        unwanted.iter().map(|slot| (slot.id, ScrubOutcome::Unwanted)).collect();
    failpoint::hit("scrub:unwanted");
    if !wanted.is_empty() {
        outcomes.extend(scrub_wanted(node, &wanted)?);
    }
    deleted.map(|_| outcomes)
}

/// Dirty slots without a container, in the order in which they came back. The first list has the
/// slots that a container may have again, the second the others.
pub fn dirty_slots(node: &Node) -> Result<(Vec<Slot>, Vec<Slot>), NodeError> {
    let dirty = node.store.read(|transaction| {
        let mut dirty = Vec::new();
        for id in transaction.indexed(Prefix::State(SlotState::Dirty))? {
            let slot = transaction.slot(id?)?;
            dirty.extend(slot.filter(|slot| slot.container.is_none()));
        }
        Ok::<_, StoreError>(dirty)
    });
    let mut dirty = dirty?;
    dirty.sort_unstable_by_key(|slot| slot.changed);
    sort(node, &dirty)
}

/// The users of slots' namespaces, by slot: one process or mount each. The search looks from
/// outside the namespaces.
pub fn holders(node: &Node, slots: &[Slot]) -> Result<HashMap<SlotId, User>, NodeError> {
    let namespaces: Vec<_> = slots.iter().filter_map(|slot| slot.netns).collect();
    if namespaces.is_empty() {
        return Ok(HashMap::new());
    }
    let netns_store =
        node.existing_netns_store()?.map(|netns_store| netns_store.inode()).transpose()?;
    let mut users = users(&namespaces, netns_store.map(|netns_store| netns_store.inode))?;
    let held = |slot: &Slot| Some((slot.id, users.remove(&slot.netns?)?));
    Ok(slots.iter().filter_map(held).collect())
}

/// Dirty slots by whether a container may have them again.
fn sort(node: &Node, slots: &[Slot]) -> Result<(Vec<Slot>, Vec<Slot>), NodeError> {
    Ok(node.store.read(|transaction| {
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for slot in slots {
            let is_dirty = slot.state() == SlotState::Dirty && slot.container.is_none();
            if is_dirty && !is_wanted(transaction, slot)? {
                unwanted.push(slot.clone());
            } else {
                wanted.push(slot.clone());
            }
        }
        Ok::<_, StoreError>((wanted, unwanted))
    })?)
}

/// Whether a container may have a slot again.
fn is_wanted<T: Access>(transaction: &Transaction<'_, T>, slot: &Slot) -> Result<bool, StoreError> {
    let pool = transaction.pool(&slot.pool_id())?;
    Ok(pool.is_some_and(|pool| waits_for_its_domain(slot, &pool)))
}

/// Whether a slot may wait for its trust domain. Its last user must allow that, the pool must still
/// build such slots, and its configured scope must still have such domains.
pub(crate) fn waits_for_its_domain(slot: &Slot, pool: &Pool) -> bool {
    let is_within = slot.domain.as_ref().is_some_and(|own| own.is_within(&pool.configured));
    slot.retain && slot.kind.pool() == Some(pool.key) && is_within
}

/// Scrubs slots that their trust domains may have again.
///
/// Scrubbing is mostly waiting, for the kernel to forget sockets that were closed a moment ago.
fn scrub_wanted(node: &Node, slots: &[Slot]) -> Result<Vec<(SlotId, ScrubOutcome)>, NodeError> {
    let netns_store = node.netns_store()?;
    let namespaces: Vec<_> = slots.iter().filter_map(|slot| slot.netns).collect();
    let users = users(&namespaces, Some(netns_store.inode()?.inode))?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut ends = Vec::new();
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let user = slot.netns.and_then(|netns| users.get(&netns));
            ends.push((slot.id, scrub_alone(node, slot, user)));
        }
        ends
    };
    // The scrub has threads of its own, because it enters and leaves namespaces.
    let ends = thread::scope(|scope| {
        let first = threads::spawn(scope, work)?;
        // If no other thread starts, the first one does all the work.
        let others = (1..slots.len().min(WORKERS)).map(|_| threads::spawn(scope, work));
        let started: Vec<_> = iter::once(first).chain(others.filter_map(Result::ok)).collect();
        let ends = started.into_iter().flat_map(|thread| thread.join().unwrap_or_default());
        Ok::<Vec<_>, ThreadError>(ends.collect())
    })?;
    let (mut outcomes, mut deleting, mut failure) =
        (Vec::with_capacity(ends.len()), Vec::new(), None);
    for (id, end) in ends {
        match end {
            Ok(Some((outcome, slot))) => {
                outcomes.push((id, outcome));
                deleting.extend(slot);
            }
            Ok(None) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    delete_slots(node, &deleting)?;
    failure.map_or(Ok(outcomes), Err)
}

/// What became of a slot, and the slot if it is to be deleted.
type End = (ScrubOutcome, Option<Slot>);

/// Scrubs a slot under its lock, or reports its `user`. A slot with a user is deleted after
/// [`IN_USE_TIMEOUT`]. Returns none if the slot is no longer dirty, or if its scrub lock is taken.
fn scrub_alone(node: &Node, slot: &Slot, user: Option<&User>) -> Result<Option<End>, NodeError> {
    let Some(_lock) = ScrubLock::take(&node.directories.run, slot.id)? else {
        return Ok(None);
    };
    let outcome = match user {
        Some(user) if is_out_of_patience(slot) => {
            ScrubOutcome::Deleted(format!("still in use after {IN_USE_TIMEOUT:?}: {user}"))
        }
        Some(user) => return Ok(Some((ScrubOutcome::InUse(user.clone()), None))),
        None => {
            if !begin(node, slot)? {
                return Ok(None);
            }
            failpoint::hit("scrub:begun");
            // A slot whose scrub fails is deleted, because nothing would scrub it again.
            scrub_begun(node, slot).unwrap_or_else(|error| ScrubOutcome::Deleted(error.to_string()))
        }
    };
    failpoint::hit("scrub:done");
    let deleting = end(node, slot, &outcome)?;
    failpoint::hit("scrub:recorded");
    Ok(Some((outcome, deleting)))
}

fn is_out_of_patience(slot: &Slot) -> bool {
    age(slot.changed, now()) > IN_USE_TIMEOUT
}

fn scrub_begun(node: &Node, slot: &Slot) -> Result<ScrubOutcome, NodeError> {
    let deleted = |reason: &str| Ok(ScrubOutcome::Deleted(reason.to_owned()));
    let pool = node.store.read(|transaction| transaction.pool(&slot.pool_id()))?;
    let Some(pool) = pool else {
        return deleted("its pool is gone");
    };
    if !waits_for_its_domain(slot, &pool) {
        return Ok(ScrubOutcome::Unwanted);
    }
    // Other plugins of a chain may have changed the host's half as well. The next container would
    // inherit what they added.
    let restored = ensure_half(node, slot)?;
    if let Some(residue) = host_residue(slot)? {
        return Ok(ScrubOutcome::Deleted(residue));
    }
    let Some(expected) = node.fingerprint(slot)? else {
        return deleted("its fingerprint is not on record");
    };
    let netns = node.netns_store()?.netns(slot.id)?;
    if slot.netns != Some(netns.inode()) {
        return deleted("its namespace is another's by now");
    }
    Ok(match scrub_netns(slot, &configuration(node, slot, &pool)?, &netns, &expected) {
        Ok(Scrubbed::Clean { repaired }) => {
            forget_mac(node, slot)?;
            let restored = restored.iter().map(|part| format!("on the node: {part}"));
            ScrubOutcome::Ready { repaired: restored.chain(repaired).collect() }
        }
        Ok(Scrubbed::InUse(user)) => ScrubOutcome::InUse(user),
        Ok(Scrubbed::Different(difference)) => ScrubOutcome::Deleted(difference.to_string()),
        Err(error) => ScrubOutcome::Deleted(error.to_string()),
    })
}

/// Resets the slot's Ethernet address in the maps. The last container may have changed it, and the
/// next one uses the slot's own.
fn forget_mac(node: &Node, slot: &Slot) -> Result<(), NodeError> {
    if let (Some(maps), Some(ifindex)) = (node.maps()?, slot.host_ifindex()) {
        maps.forget_mac(ifindex)?;
    }
    failpoint::hit("scrub:mac");
    Ok(())
}

/// The network configuration that the slot was built with.
fn configuration(node: &Node, slot: &Slot, pool: &Pool) -> Result<NetworkConfig, NodeError> {
    let conf = NetConf::recorded(&pool.conf)?;
    let template = pool_template(node, &conf, slot.stored_template())?;
    let context = NodeContext { addresses: slot.addresses.clone(), mtu: slot.require_built()?.mtu };
    Ok(template.instantiate(&context))
}

/// Records `scrubbing` for a dirty slot. Returns false if the slot is not dirty, has a container,
/// or has changed since it was read. The check for users covers the container before that read, and
/// not a later one.
pub(super) fn begin(node: &Node, slot: &Slot) -> Result<bool, NodeError> {
    node.store.write(|transaction| {
        let current = transaction.unchanged(slot)?;
        let Some(current) = current.filter(|slot| is_ours(slot, &[SlotState::Dirty])) else {
            return Ok(false);
        };
        // The time of parking stays on record: `IN_USE_TIMEOUT` counts from it.
        transaction.advance(slot.id, SlotState::Scrubbing, current.changed, |_| ())?;
        Ok(true)
    })
}

/// Records the result of a scrub. Returns the slot if it is to be deleted.
fn end(node: &Node, slot: &Slot, outcome: &ScrubOutcome) -> Result<Option<Slot>, NodeError> {
    node.store.write(|transaction| {
        let current = transaction.unchanged(slot)?;
        let ours = |slot: &Slot| is_ours(slot, &[SlotState::Scrubbing, SlotState::Dirty]);
        let Some(current) = current.filter(ours) else {
            // Another process has deleted it meanwhile.
            return Ok(None);
        };
        match outcome {
            ScrubOutcome::Ready { .. } => park(transaction, slot.id, now())?,
            ScrubOutcome::InUse(_) => {
                transaction.advance(slot.id, SlotState::Dirty, current.changed, |_| ())?;
            }
            ScrubOutcome::Unwanted | ScrubOutcome::Deleted(_) => {
                return Ok(Some(transaction.advance(
                    slot.id,
                    SlotState::Deleting,
                    now(),
                    |_| (),
                )?));
            }
        }
        Ok(None)
    })
}

/// Whether a slot is in one of these states and has no container.
fn is_ours(slot: &Slot, states: &[SlotState]) -> bool {
    states.contains(&slot.state()) && slot.container.is_none()
}

/// Records that a scrubbed slot waits, for its function if it has one, and else for its domain.
pub(crate) fn park(transaction: &mut Write<'_>, id: SlotId, when: u64) -> Result<(), StoreError> {
    transaction.advance(id, SlotState::Parked, when, |_| ()).map(drop)
}
