//! The keeper: fills pools, drains them, and scrubs what comes back.

use std::{
    collections::{HashMap, HashSet},
    fmt, thread,
    time::{Duration, Instant},
};

use repoint::{
    conf::NetConf,
    lifecycle::{
        Fate, LifecycleError, Node, Order, demanded, give_up, give_up_abandoned, give_up_stale,
        mtu_of_pool, now, prepare, resume_scrubbing, scrub, supply, uplink_mtu,
    },
    policy::{Demand, plan},
    slot::require_masquerade,
    store::{Pool, PoolId, Shelf, Slot, SlotState, StoreError},
    types::{PoolKey, SlotId},
};
use tracing::{debug, info, warn};

use crate::journal::Journal;

/// How often stale and abandoned slots are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// How long a slot may be on its way before its builder or remover is taken for killed.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);
/// Over how long the rate of ADDs is taken.
const OBSERVATION: Duration = Duration::from_secs(1);
/// The first wait before a slot that is still in use is tried again; each is twice the one before.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// How long a pool that cannot be filled is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What the keeper remembers from round to round.
#[derive(Debug)]
pub(crate) struct Keeper {
    node: Node,
    journal: Journal,
    pools: HashMap<PoolId, Memory>,
    retries: HashMap<SlotId, Retry>,
    last_housekeeping: Option<Instant>,
    /// Slots that were being scrubbed at the last housekeeping, by whomever: none takes so long.
    scrubbing: HashSet<SlotId>,
}

/// Of a pool.
#[derive(Debug)]
struct Memory {
    demand: Demand,
    /// ADDs that were counted when the rate was last taken.
    counted: u64,
    observed: Instant,
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
    pub(crate) fn new(node: Node) -> Result<Self, LifecycleError> {
        resume_scrubbing(&node)?;
        Ok(Self {
            journal: Journal::new(&node)?,
            node,
            pools: HashMap::new(),
            retries: HashMap::new(),
            last_housekeeping: None,
            scrubbing: HashSet::new(),
        })
    }

    /// Does what there is to do, on a thread of its own, because it goes in and out of namespaces.
    /// What fails is logged and tried again. Says when there will be something to do without
    /// anybody ringing.
    pub(crate) fn round(&mut self) -> Option<Instant> {
        let node = &self.node;
        let (pools, retries, last) =
            (&mut self.pools, &mut self.retries, &mut self.last_housekeeping);
        let scrubbing = &mut self.scrubbing;
        let done = thread::scope(|scope| {
            scope
                .spawn(|| {
                    log_failure("scrub slots", scrub_dirty(node, retries));
                    log_failure("look after the pools", look_after_pools(node, pools));
                    if last.is_none_or(|last| last.elapsed() >= HOUSEKEEPING) {
                        *last = Some(Instant::now());
                        log_failure("give up stale slots", keep_house(node, scrubbing));
                    }
                })
                .join()
        });
        if done.is_err() {
            warn!("a round of the keeper ended early");
        }
        log_failure("read the journal", self.journal.log(&self.node));
        self.retries.values().map(|retry| retry.at).min()
    }
}

fn log_failure<T>(what: &str, result: Result<T, LifecycleError>) {
    if let Err(error) = result {
        warn!("cannot {what}: {error}");
    }
}

/// Scrubs the slots that came back, those that were in use a moment ago when their time has come.
fn scrub_dirty(node: &Node, retries: &mut HashMap<SlotId, Retry>) -> Result<(), LifecycleError> {
    let dirty = dirty(node)?;
    retries.retain(|id, _| dirty.iter().any(|slot| slot.id == *id));
    let now = Instant::now();
    let due = |slot: &Slot| retries.get(&slot.id).is_none_or(|retry| retry.at <= now);
    let due: Vec<_> = dirty.into_iter().filter(due).collect();
    if due.is_empty() {
        return Ok(());
    }
    for (slot, fate) in scrub(node, &due)? {
        match fate {
            Fate::Ready { state, repaired } if repaired.is_empty() => {
                debug!("slot {slot} is {state}");
            }
            Fate::Ready { state, repaired } => {
                info!("slot {slot} is {state}, {} lines of it were repaired", repaired.len());
                debug!("slot {slot}: repaired {}", repaired.join(", "));
            }
            Fate::InUse(user) => {
                let wait = retries
                    .get(&slot)
                    .map_or(FIRST_RETRY, |retry| (retry.wait * 2).min(LAST_RETRY));
                debug!("slot {slot} is in use still: {user}");
                retries.insert(slot, Retry { at: Instant::now() + wait, wait });
                continue;
            }
            Fate::GivenUp(reason) => info!("slot {slot} is given up: {reason}"),
        }
        retries.remove(&slot);
    }
    Ok(())
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

fn look_after_pools(
    node: &Node,
    memories: &mut HashMap<PoolId, Memory>,
) -> Result<(), LifecycleError> {
    let pools = node.store.read(|transaction| transaction.pools())?;
    memories.retain(|id, _| pools.iter().any(|(known, _)| known == id));
    for (id, pool) in pools {
        let counted = demanded(node, &id)?;
        let memory = memories.entry(id.clone()).or_insert_with(|| Memory {
            demand: Demand::default(),
            counted,
            observed: Instant::now(),
            looked: Instant::now(),
            until: None,
        });
        log_failure(
            &format!("look after pool {id}"),
            look_after(node, &id, &pool, memory, counted),
        );
    }
    Ok(())
}

fn look_after(
    node: &Node,
    id: &PoolId,
    pool: &Pool,
    memory: &mut Memory,
    counted: u64,
) -> Result<(), LifecycleError> {
    let interval = memory.looked.elapsed();
    memory.looked = Instant::now();
    let observed = memory.observed.elapsed();
    if observed >= OBSERVATION {
        memory.demand.observe(counted.saturating_sub(memory.counted), observed);
        (memory.counted, memory.observed) = (counted, Instant::now());
    }
    if memory.until.is_some_and(|until| Instant::now() < until) {
        return Ok(());
    }
    let plan = plan(pool.policy(), supply(node, pool.key)?, &mut memory.demand, interval);
    for (state, count) in [(SlotState::Parked, plan.evict), (SlotState::Warm, plan.drain)] {
        if count > 0 {
            let number = give_up(node, pool.key, state, count)?;
            info!("pool {id}: gave up {number} {state} slots");
        }
    }
    if plan.build > 0 {
        let conf = NetConf::parse(&pool.conf)?;
        let began = Instant::now();
        match prepare(node, &Order { conf: &conf, pool: id, count: plan.build, user: None }) {
            Ok(slots) => {
                let (number, rate) = (slots.len(), memory.demand.rate());
                info!("pool {id}: built {number} slots in {:?}, {rate:.1} ADD/s", began.elapsed());
            }
            Err(error) => {
                memory.until = Some(Instant::now() + AFTER_FAILURE);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Gives up what was built from what is configured no more, and what others left when they were
/// killed.
fn keep_house(node: &Node, scrubbing: &mut HashSet<SlotId>) -> Result<(), LifecycleError> {
    let pools = node.store.read(|transaction| transaction.pools())?;
    let mut current: HashMap<PoolKey, Option<u32>> = HashMap::new();
    let uplink = uplink_mtu()?;
    for (_, pool) in &pools {
        let mtu = mtu_of_pool(node, pool, uplink).ok();
        current.insert(pool.key, mtu);
    }
    let is_stale = |slot: &Slot| {
        slot.owns_netns && current.get(&slot.pool).is_none_or(|mtu| *mtu != Some(slot.mtu))
    };
    log_number("that nobody would ask for any more", give_up_stale(node, is_stale)?);
    resume_abandoned(node, scrubbing)?;
    restore_masquerade(node)?;
    node.store.write(|transaction| transaction.end_rests(now()))?;
    let after = u64::try_from(ABANDONED_AFTER.as_nanos()).unwrap_or(u64::MAX);
    log_number("whose builder or remover was killed", give_up_abandoned(node, after)?);
    Ok(())
}

/// Has slots scrubbed again that have been on it since the last look: who scrubbed them was killed.
fn resume_abandoned(node: &Node, scrubbing: &mut HashSet<SlotId>) -> Result<(), LifecycleError> {
    let now: HashSet<SlotId> = node.store.read(|transaction| {
        transaction.on_shelf(Shelf::State(SlotState::Scrubbing))?.collect::<Result<_, StoreError>>()
    })?;
    if now.intersection(scrubbing).next().is_some() {
        resume_scrubbing(node)?;
    }
    *scrubbing = now;
    Ok(())
}

/// Sees to it that the masquerade rule is there, if a slot needs it: who reloads a firewall flushes
/// others' rules, and an ADD that is a hit does not look.
fn restore_masquerade(node: &Node) -> Result<(), LifecycleError> {
    let needs = |slot: &Slot| slot.masquerade && slot.state() != SlotState::Condemned;
    if node.store.read(|transaction| transaction.any_slot(needs))? {
        require_masquerade(&node.directories.run)?;
    }
    Ok(())
}

fn log_number(which: impl fmt::Display, number: usize) {
    if number > 0 {
        info!("gave up {number} slots {which}");
    }
}
