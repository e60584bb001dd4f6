//! The keeper: fills pools, drains them, and scrubs what comes back.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use repoint::{
    conf::{IpamConf, NetConf},
    failpoint,
    lifecycle::{
        Fate, LifecycleError, Node, demanded, give_up, now, refill, resume_scrubbing, scrub, supply,
    },
    policy::{
        Demand, MOST_BUILT, MOST_DRAINED, MOST_RETIRED, MOST_SCRUBBED, Plan, Reason, plan, retire,
    },
    store::{Pool, PoolId, Shelf, Slot, SlotState, StoreError},
    types::SlotId,
};
use tracing::{debug, info, warn};

use crate::{housekeeping::Housekeeping, journal::Journal};

/// The first wait before a slot that is still in use is tried again; each is twice the one before.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// How long a pool that cannot be filled is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What the keeper remembers from round to round.
#[derive(Debug)]
pub(crate) struct Keeper {
    node: Arc<Node>,
    journal: Journal,
    pools: HashMap<PoolId, Memory>,
    retries: HashMap<SlotId, Retry>,
    housekeeping: Housekeeping,
}

/// Of a pool.
#[derive(Debug)]
struct Memory {
    demand: Demand,
    /// ADDs that were counted at the last look.
    counted: u64,
    looked: Instant,
    /// Until when it is left alone, since building failed.
    until: Option<Instant>,
}

/// Of a slot that was still in use.
#[derive(Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

impl Keeper {
    pub(crate) fn new(node: Arc<Node>) -> Result<Self, LifecycleError> {
        resume_scrubbing(&node)?;
        Ok(Self {
            journal: Journal::new(&node)?,
            node,
            pools: HashMap::new(),
            retries: HashMap::new(),
            housekeeping: Housekeeping::default(),
        })
    }

    /// Does what there is to do, on a thread of its own, because it goes in and out of namespaces.
    /// What fails is logged and tried again. Says when there will be something to do without
    /// anybody ringing.
    pub(crate) fn round(&mut self) -> Option<Instant> {
        let node = &self.node;
        let (pools, retries, housekeeping) =
            (&mut self.pools, &mut self.retries, &mut self.housekeeping);
        let done = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let scrubbed = log_failure("scrub slots", scrub_dirty(node, retries));
                    let looked = log_failure("look after the pools", look_after_pools(node, pools));
                    housekeeping.look(node);
                    scrubbed.unwrap_or(false) || looked.unwrap_or(false)
                })
                .join()
        });
        let more = done.unwrap_or_else(|_| {
            warn!("a round of the keeper ended early");
            false
        });
        log_failure("read the journal", self.journal.log(&self.node));
        let retry = self.retries.values().map(|retry| retry.at).min();
        if more { Some(Instant::now()) } else { retry }
    }
}

pub(crate) fn log_failure<T>(what: &str, result: Result<T, LifecycleError>) -> Option<T> {
    result.inspect_err(|error| warn!("cannot {what}: {error}")).ok()
}

/// Scrubs slots that came back, those that were in use a moment ago when their time has come. Says
/// whether there are more than are done at a time.
fn scrub_dirty(node: &Node, retries: &mut HashMap<SlotId, Retry>) -> Result<bool, LifecycleError> {
    let dirty = dirty(node)?;
    retries.retain(|id, _| dirty.iter().any(|slot| slot.id == *id));
    let now = Instant::now();
    let due = |slot: &Slot| retries.get(&slot.id).is_none_or(|retry| retry.at <= now);
    let mut due: Vec<_> = dirty.into_iter().filter(due).collect();
    if due.is_empty() {
        return Ok(false);
    }
    let more = due.len() > MOST_SCRUBBED;
    due.sort_unstable_by_key(|slot| slot.changed);
    due.truncate(MOST_SCRUBBED);
    let fates = scrub(node, &due)?;
    failpoint::hit("keeper:scrubbed");
    for (slot, fate) in fates {
        match fate {
            Fate::Ready { repaired } if repaired.is_empty() => debug!("slot {slot} is parked"),
            Fate::Ready { repaired } => {
                info!("slot {slot} is parked, {} lines of it were repaired", repaired.len());
                debug!("slot {slot}: repaired {}", repaired.join(", "));
            }
            Fate::Unwanted => debug!("slot {slot} is deleted: no container may have it again"),
            Fate::InUse(user) => {
                let wait = retries
                    .get(&slot)
                    .map_or(FIRST_RETRY, |retry| (retry.wait * 2).min(LAST_RETRY));
                debug!("slot {slot} is in use still: {user}");
                retries.insert(slot, Retry { at: Instant::now() + wait, wait });
                continue;
            }
            Fate::Deleted(reason) => info!("slot {slot} is deleted: {reason}"),
        }
        retries.remove(&slot);
    }
    Ok(more)
}

/// The slots that came back and that no runtime has.
fn dirty(node: &Node) -> Result<Vec<Slot>, LifecycleError> {
    Ok(node.store.read(|transaction| {
        let mut dirty = Vec::new();
        for id in transaction.on_shelf(Shelf::State(SlotState::Dirty))? {
            let slot = transaction.slot(id?)?;
            dirty.extend(slot.filter(|slot| slot.container.is_none()));
        }
        Ok::<_, StoreError>(dirty)
    })?)
}

/// Looks after every pool. Says whether one has more to do than is done at a time.
fn look_after_pools(
    node: &Node,
    memories: &mut HashMap<PoolId, Memory>,
) -> Result<bool, LifecycleError> {
    let pools = node.store.read(|transaction| transaction.pools())?;
    memories.retain(|id, _| pools.iter().any(|(known, _)| known == id));
    let mut more = false;
    for (id, pool) in pools {
        let counted = demanded(node, &id)?;
        let memory = memories.entry(id.clone()).or_insert_with(|| Memory {
            demand: Demand::default(),
            counted,
            looked: Instant::now(),
            until: None,
        });
        let done = look_after(node, &id, &pool, memory, counted);
        more |= log_failure(&format!("look after pool {id}"), done).unwrap_or(false);
    }
    Ok(more)
}

/// Looks after one pool: some steps at a time, so that what came back is scrubbed in between, and what
/// is built is ready soon.
fn look_after(
    node: &Node,
    id: &PoolId,
    pool: &Pool,
    memory: &mut Memory,
    counted: u64,
) -> Result<bool, LifecycleError> {
    let interval = memory.looked.elapsed();
    memory.looked = Instant::now();
    memory.demand.observe(counted.saturating_sub(memory.counted), interval);
    memory.counted = counted;
    if memory.until.is_some_and(|until| Instant::now() < until) {
        return Ok(false);
    }
    let policy = pool.policy();
    let (supply, parked) = node.stock(pool)?;
    let plan = plan(&policy, supply, &mut memory.demand, interval);
    let retirements = retire(&parked, now(), &policy, plan.evict());
    log_retired(id, &node.retire(&retirements)?);
    drain(node, id, pool, &plan)?;
    let count = to_build(node, pool, &plan)?;
    build(node, id, pool, memory, count)?;
    Ok(count == MOST_BUILT || plan.drain == MOST_DRAINED || retirements.len() == MOST_RETIRED)
}

fn drain(node: &Node, id: &PoolId, pool: &Pool, plan: &Plan) -> Result<(), LifecycleError> {
    if plan.drain > 0 {
        let number = give_up(node, pool.key, SlotState::Warm, plan.drain)?;
        failpoint::hit("keeper:drained");
        info!("pool {id}: gave up {number} warm slots");
    }
    Ok(())
}

/// How many slots to build. There may be as many as there is room for now: taking others down took
/// time, in which ADDs may have built some.
fn to_build(node: &Node, pool: &Pool, plan: &Plan) -> Result<u32, LifecycleError> {
    if plan.lack == 0 {
        return Ok(0);
    }
    let total = supply(node, pool.key)?.total;
    Ok(plan.build(pool.policy().max.saturating_sub(total)))
}

/// Builds slots. A pool for which that fails is left alone for a while.
fn build(
    node: &Node,
    id: &PoolId,
    pool: &Pool,
    memory: &mut Memory,
    count: u32,
) -> Result<(), LifecycleError> {
    if count == 0 {
        return Ok(());
    }
    let conf = NetConf::parse(&pool.conf)?;
    if matches!(conf.ipam, IpamConf::Delegated(_)) {
        // Its ADDs are counted, and that is all there is of it.
        return Ok(());
    }
    let began = Instant::now();
    let slots = refill(node, id, pool, count).inspect_err(|_| {
        memory.until = Some(Instant::now() + AFTER_FAILURE);
    })?;
    failpoint::hit("keeper:built");
    let (number, took) = (slots.len(), began.elapsed());
    memory.demand.built(u32::try_from(number).unwrap_or(u32::MAX), took);
    info!("pool {id}: built {number} slots in {took:?}, {:.1} ADD/s", memory.demand.rate());
    Ok(())
}

/// Logs how many parked slots were deleted, for which reasons.
fn log_retired(id: &PoolId, retired: &[Reason]) {
    let mut numbers: BTreeMap<Reason, usize> = BTreeMap::new();
    for reason in retired {
        *numbers.entry(*reason).or_default() += 1;
    }
    for (reason, number) in numbers {
        info!("pool {id}: deleted {number} parked slots: {reason}");
    }
}
