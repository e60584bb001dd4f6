//! PREPARE: slots are built ahead of time, with namespaces of their own, and kept parked.

use std::time::Duration;

use super::{
    build_spec::{BuildSpec, NewSlot},
    shortage::shortage_of,
    stock::{supply, total},
    terms::domain,
};
use crate::{
    conf::{NetConf, User},
    failpoint,
    model::{FingerprintDigest, Identity, PoolId, SlotId},
    netns::{Netns, NetnsStore},
    node::{
        Node, NodeError, PoolError,
        effective::{EffectivePool, effective_pool},
        holders::name_holders,
        now,
    },
    retire::{connections::forget_connections, delete_slots},
    slot::{BuiltPair, Fingerprint, require_masquerade},
    store::{Pool, Slot, SlotState},
    threads::{self, ThreadError},
};

/// Slots recorded in one transaction, which must not block other writers for long.
const BATCH: u32 = 64;
/// How often a build is tried again with other addresses, because an unrecorded object on the node
/// has the first ones.
pub(crate) const MOST_TRIES: u32 = 3;
/// How long an address is not assigned after an unrecorded object on the node had it. A sweep finds
/// within this time what a lost database left.
const SPARED: Duration = Duration::from_mins(1);

/// Slots to build.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The network.
    pub conf: &'a NetConf,
    /// The pool, which is on record.
    pub pool: &'a PoolId,
    /// How many.
    pub count: u32,
    /// The function that the slots wait for, and its tenant; none: any container may have them.
    pub user: Option<&'a User>,
}

/// Builds slots for a pool and makes them ready. Returns their numbers: fewer than asked for where
/// addresses run out.
///
/// # Errors
/// Where the pool is not on record, and where a build fails. The slots that are not ready are deleted then.
pub fn prepare(node: &Node, order: &Order<'_>) -> Result<Vec<SlotId>, NodeError> {
    let pool = effective_pool(node, order.conf, order.pool)?;
    let pool = pool.ok_or_else(|| PoolError::NoPool { network: order.pool.to_string() })?;
    build_slots(node, order.conf, &pool, order.user, order.count)
}

/// As [`prepare`], for a recorded pool and for any container. The pool is not recorded again,
/// because `pool` may be outdated by now.
pub fn refill(node: &Node, id: &PoolId, pool: &Pool, count: u32) -> Result<Vec<SlotId>, NodeError> {
    let recorded = node.store.read(|transaction| transaction.pool(id))?;
    if recorded.is_none_or(|recorded| recorded.key != pool.key) {
        return Ok(Vec::new());
    }
    let conf = NetConf::recorded(&pool.conf)?;
    build_slots(node, &conf, &EffectivePool::recorded(id, pool), None, count)
        .map_err(|error| name_holders(node, &conf, error))
}

fn build_slots(
    node: &Node,
    conf: &NetConf,
    pool: &EffectivePool,
    user: Option<&User>,
    count: u32,
) -> Result<Vec<SlotId>, NodeError> {
    let spec = BuildSpec::new(node, conf, pool)?;
    let netns_store = node.netns_store()?;
    drop(node.load_datapath()?);
    let mut batches =
        Batches { node, spec, netns_store, user, fingerprint: None, ready: Vec::new() };
    let (mut left, mut tries) = (count, 1);
    while left > 0 {
        let (batch, before) = (left.min(BATCH), batches.ready.len());
        let outcome = batches.build(batch);
        let built = u32::try_from(batches.ready.len() - before).unwrap_or(batch);
        left = match outcome {
            // As many as there are addresses for.
            Err(error) if shortage_of(&error).is_some() && !batches.ready.is_empty() => 0,
            // New slots get other addresses.
            Err(error) if error.meets_another_on_node() && tries < MOST_TRIES => {
                tries += 1;
                left.saturating_sub(built)
            }
            Err(error) => return Err(error),
            Ok(()) if built < batch => 0,
            Ok(()) => left - batch,
        };
    }
    Ok(batches.ready)
}

/// Keeps the addresses of a slot that could not be built unassigned for a while.
pub(crate) fn spare_addresses(node: &Node, slot: &Slot) -> Result<(), NodeError> {
    let until = now().saturating_add(u64::try_from(SPARED.as_nanos()).unwrap_or(u64::MAX));
    node.store.write(|transaction| {
        slot.addresses.iter().try_for_each(|address| transaction.spare(address.addr(), until))
    })?;
    failpoint::hit("prepare:spared");
    Ok(())
}

/// Refuses to build more slots than a pool may have.
pub(crate) fn check_room(node: &Node, pool: &EffectivePool, count: u32) -> Result<(), NodeError> {
    let room = pool.policy.max.saturating_sub(supply(node, pool.key)?.total);
    if count > room {
        return Err(PoolError::NoRoom { pool: pool.id.to_string(), count, room }.into());
    }
    Ok(())
}

/// Slots that are built some at a time.
struct Batches<'a> {
    node: &'a Node,
    spec: BuildSpec<'a>,
    netns_store: NetnsStore,
    user: Option<&'a User>,
    /// Digest of their namespaces' fingerprint, once one slot is built.
    fingerprint: Option<FingerprintDigest>,
    /// Those that are ready.
    ready: Vec<SlotId>,
}

impl Batches<'_> {
    /// Builds some slots. What could not be built is taken down.
    fn build(&mut self, count: u32) -> Result<(), NodeError> {
        let new_slots = new_slots(self.node, &self.spec, count)?;
        failpoint::hit("prepare:recorded");
        if let Err(error) =
            forget_connections(self.node, new_slots.iter().map(|new_slot| &new_slot.slot))
        {
            let slots: Vec<_> = new_slots.into_iter().map(|new_slot| new_slot.slot).collect();
            // Report the error of the build, not the error of the cleanup. What is left stays on record.
            drop(delete_slots(self.node, &slots));
            return Err(error);
        }
        let (mut done, mut failed, mut first) = (Vec::new(), Vec::new(), None);
        for (new_slot, built) in self.build_all(new_slots) {
            match built {
                Ok(built) => done.push((new_slot, built)),
                Err(error) => {
                    if error.meets_another_on_node() {
                        // Without this, the next try may choose the same addresses. The error of
                        // the build counts, not this one.
                        drop(spare_addresses(self.node, &new_slot.slot));
                    }
                    failed.push(new_slot.slot);
                    first.get_or_insert(error);
                }
            }
        }
        let ready = self.finish(&done).unwrap_or_else(|error| {
            first.get_or_insert(error);
            Vec::new()
        });
        failpoint::hit("prepare:ready");
        let slots = done.into_iter().map(|(new_slot, _)| new_slot.slot);
        failed.extend(slots.filter(|slot| !ready.contains(&slot.id)));
        // Report the error of the build, not the error of the cleanup. What is left stays on record.
        drop(delete_slots(self.node, &failed));
        self.ready.extend(ready);
        first.map_or(Ok(()), Err)
    }

    /// Builds the slots, and returns the result for each.
    fn build_all(&self, new_slots: Vec<NewSlot>) -> Vec<(NewSlot, Result<BuiltPair, NodeError>)> {
        let Self { node, spec, netns_store, .. } = self;
        if spec.masquerades()
            && let Err(error) = require_masquerade(&node.directories.run)
        {
            let mut error = Some(error);
            let mut failed = || error.take().map_or_else(|| ThreadError::Ended.into(), Into::into);
            return new_slots.into_iter().map(|new_slot| (new_slot, Err(failed()))).collect();
        }
        let built = build_all(node, spec, netns_store, &new_slots);
        new_slots.into_iter().zip(built).collect()
    }

    /// Records that slots are ready: `warm`, or `parked` if they are for a function. Returns the
    /// slots still on record, because another process may have deleted one meanwhile.
    fn finish(&mut self, done: &[(NewSlot, BuiltPair)]) -> Result<Vec<SlotId>, NodeError> {
        let Some((first, _)) = done.first() else {
            return Ok(Vec::new());
        };
        let fingerprint = match self.fingerprint {
            Some(digest) => digest,
            None => record_fingerprint(self.node, &self.spec, first)?,
        };
        self.fingerprint = Some(fingerprint);
        let user = self.user.filter(|user| user.function.is_some());
        let state = if user.is_some() { SlotState::Parked } else { SlotState::Warm };
        let (spec, policy) = (&self.spec, self.spec.pool.policy);
        let ready = self.node.store.write(|transaction| {
            let mut ready = Vec::with_capacity(done.len());
            for (NewSlot { slot: Slot { id, .. }, .. }, pair) in done {
                let slot = transaction.slot(*id)?;
                if slot.is_none_or(|slot| slot.state() != SlotState::Building) {
                    continue;
                }
                let built = spec.built(pair, fingerprint);
                transaction.advance(*id, state, now(), |slot| {
                    slot.built = Some(built);
                    let Some(user) = user else { return };
                    slot.function.clone_from(&user.function);
                    slot.tenant.clone_from(&user.tenant);
                    slot.domain = Some(domain(&policy, user));
                    slot.retain = true;
                    slot.idle_ttl = user.idle_ttl;
                })?;
                ready.push(*id);
            }
            Ok::<_, NodeError>(ready)
        })?;
        Ok(ready)
    }
}

/// Namespaces, and intents to build slots in them.
fn new_slots(node: &Node, spec: &BuildSpec<'_>, count: u32) -> Result<Vec<NewSlot>, NodeError> {
    let namespaces = namespaces(count)?;
    let EffectivePool { key, policy, .. } = spec.pool;
    node.store.grow(|transaction| {
        let mut new_slots: Vec<NewSlot> = Vec::with_capacity(namespaces.len());
        // ADDs may have built some since the caller has counted.
        let room = policy.max.saturating_sub(total(transaction, *key)?);
        for netns in namespaces.into_iter().take(room as usize) {
            match spec.record(transaction, &netns) {
                Ok(slot) => new_slots.push(NewSlot { slot, netns }),
                // As many as there are addresses for.
                Err(error) if shortage_of(&error).is_some() && !new_slots.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(new_slots)
    })
}

/// Creates namespaces on a thread of its own, which may end inside one.
fn namespaces(count: u32) -> Result<Vec<Netns>, NodeError> {
    let work = || (0..count).map(|_| Netns::create()).collect::<Result<Vec<_>, _>>();
    Ok(threads::run(work)??)
}

/// Builds slots one after the other, and returns the results in their order. The build has a thread
/// of its own, because it enters and leaves namespaces.
///
/// One thread suffices: nearly all of the work is under RTNL, for which a second thread only waits,
/// spinning (`mutex_spin_on_owner`). Two threads take 45 % more of the CPU for 15 % less time.
fn build_all(
    node: &Node,
    spec: &BuildSpec<'_>,
    netns_store: &NetnsStore,
    new_slots: &[NewSlot],
) -> Vec<Result<BuiltPair, NodeError>> {
    let work = || {
        let datapath = node.load_datapath();
        let build = |new_slot| match &datapath {
            Ok(datapath) => spec.build(node, netns_store, datapath, new_slot, Identity::PARKED),
            Err(_) => Err(NodeError::NoDatapath),
        };
        new_slots.iter().map(build).collect()
    };
    threads::run(work).unwrap_or_else(|error| {
        let mut error = Some(error);
        let mut failed = || Err(error.take().unwrap_or(ThreadError::Ended).into());
        new_slots.iter().map(|_| failed()).collect()
    })
}

/// Records the fingerprint of the pool's new namespaces, taken from one of them. All namespaces of
/// a batch are alike.
pub(crate) fn record_fingerprint(
    node: &Node,
    spec: &BuildSpec<'_>,
    new_slot: &NewSlot,
) -> Result<FingerprintDigest, NodeError> {
    let taken = new_slot.netns.run(|| Fingerprint::take(&new_slot.slot))??;
    let (digest, encoded) = (taken.digest(), taken.encode());
    let id = &spec.pool.id;
    let recorded = node.store.write(|transaction| {
        transaction.put_fingerprint(&digest, &encoded)?;
        let pool = transaction.pool(id)?.filter(|pool| pool.key == spec.pool.key);
        if let Some(pool) = pool.filter(|pool| pool.fingerprint != Some(digest)) {
            transaction.put_pool(id, &Pool { fingerprint: Some(digest), ..pool })?;
        }
        Ok(digest)
    });
    failpoint::hit("prepare:fingerprint");
    recorded
}
