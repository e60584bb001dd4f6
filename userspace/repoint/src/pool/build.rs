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
    model::{Identity, PoolId, SlotId},
    netns::{Netns, NetnsStore},
    node::{
        Node, NodeError,
        effective::{EffectivePool, effective_pool},
        holders::name_holders,
        now,
    },
    retire::{connections::forget_connections, delete_slots},
    slot::{Built, Fingerprint, require_masquerade},
    store::{Pool, Slot, SlotState},
    threads::{self, ThreadError},
};

/// Slots recorded in one transaction: it should not keep others from writing for long.
const BATCH: u32 = 64;
/// How often slots are built anew, with other addresses, because the node has something of the first.
pub(crate) const MOST_TRIES: u32 = 3;
/// For how long an address is given to nobody of which the node has something that is not on record.
/// What a lost database left is found by a sweep before.
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
    /// The function that they wait for, and its tenant; none: they are for anybody.
    pub user: Option<&'a User>,
}

/// Builds slots for a pool and makes them ready. Returns their numbers: fewer than asked for where
/// addresses run out.
///
/// # Errors
/// Where the pool is not on record, and where building fails half-way: what was begun is taken down
/// then.
pub fn prepare(node: &Node, order: &Order<'_>) -> Result<Vec<SlotId>, NodeError> {
    let pool = effective_pool(node, order.conf, order.pool)?;
    let pool = pool.ok_or_else(|| NodeError::NoPool { network: order.pool.to_string() })?;
    build_slots(node, order.conf, &pool, order.user, order.count)
}

/// The same for a pool as it is on record, for anybody. It is not recorded anew: what was read of it
/// a moment ago may be superseded by now.
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
            // Others get other addresses.
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

/// Gives the addresses of a slot that could not be built to nobody for a while.
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
        return Err(NodeError::NoRoom { pool: pool.id.to_string(), count, room });
    }
    Ok(())
}

/// Slots that are built some at a time.
struct Batches<'a> {
    node: &'a Node,
    spec: BuildSpec<'a>,
    netns_store: NetnsStore,
    user: Option<&'a User>,
    /// What their namespaces are like, once one is built.
    fingerprint: Option<[u8; 32]>,
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
            // The caller wants to know why building failed; what is left stays on record.
            drop(delete_slots(self.node, &slots));
            return Err(error);
        }
        let (mut done, mut failed, mut first) = (Vec::new(), Vec::new(), None);
        for (new_slot, built) in self.build_all(new_slots) {
            match built {
                Ok(built) => done.push((new_slot, built)),
                Err(error) => {
                    if error.meets_another_on_node() {
                        // Else the next try may meet it again; what was begun is taken down first.
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
        // What cannot be removed stays on record, and the caller wants to know why building failed.
        drop(delete_slots(self.node, &failed));
        self.ready.extend(ready);
        first.map_or(Ok(()), Err)
    }

    /// Builds what can be built, and says of each slot what came of it.
    fn build_all(&self, new_slots: Vec<NewSlot>) -> Vec<(NewSlot, Result<Built, NodeError>)> {
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

    /// Records that slots are ready: for anybody, or for the function that they are meant for. Gives
    /// those that are: another process may have deleted one meanwhile.
    fn finish(&mut self, done: &[(NewSlot, Built)]) -> Result<Vec<SlotId>, NodeError> {
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
        let policy = self.spec.pool.policy;
        let ready = self.node.store.write(|transaction| {
            let mut ready = Vec::with_capacity(done.len());
            for (NewSlot { slot: Slot { id, .. }, .. }, built) in done {
                let slot = transaction.slot(*id)?;
                if slot.is_none_or(|slot| slot.state() != SlotState::Building) {
                    continue;
                }
                transaction.advance(*id, state, now(), |slot| {
                    slot.host_ifindex = built.host_ifindex;
                    slot.nsid = built.nsid;
                    slot.fingerprint = fingerprint;
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

/// Makes namespaces, by a thread that can be lost inside one.
fn namespaces(count: u32) -> Result<Vec<Netns>, NodeError> {
    let work = || (0..count).map(|_| Netns::create()).collect::<Result<Vec<_>, _>>();
    Ok(threads::run(work)??)
}

/// Builds slots one after the other, and answers in their order, by a thread of its own, since it
/// goes in and out of namespaces.
///
/// One thread: nearly all of it is work under RTNL, for which a second one only waits, spinning
/// (`mutex_spin_on_owner`). Two threads take 45 % more of the CPU for 15 % less time.
fn build_all(
    node: &Node,
    spec: &BuildSpec<'_>,
    netns_store: &NetnsStore,
    new_slots: &[NewSlot],
) -> Vec<Result<Built, NodeError>> {
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

/// Records what the pool's new namespaces are like, as one of them is. They are made alike: one is
/// looked at for all that are built in one go.
pub(crate) fn record_fingerprint(
    node: &Node,
    spec: &BuildSpec<'_>,
    new_slot: &NewSlot,
) -> Result<[u8; 32], NodeError> {
    let taken = new_slot.netns.run(|| Fingerprint::take(&new_slot.slot))??;
    let (digest, encoded) = (taken.digest(), taken.encode());
    let id = &spec.pool.id;
    let recorded = node.store.write(|transaction| {
        transaction.put_fingerprint(&digest, &encoded)?;
        let pool = transaction.pool(id)?.filter(|pool| pool.key == spec.pool.key);
        if let Some(pool) = pool.filter(|pool| pool.fingerprint != digest) {
            transaction.put_pool(id, &Pool { fingerprint: digest, ..pool })?;
        }
        Ok(digest)
    });
    failpoint::hit("prepare:fingerprint");
    recorded
}
