//! The pool controller: deletes what no container may have again, and fills and drains pools.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use repoint::{
    conf::{IpamConf, NetConf},
    failpoint,
    ipam::Reserved,
    model::PoolId,
    node::{Node, NodeError, now, reserved_addresses},
    pool::{
        Demand, MOST_BUILT, MOST_DELETED, MOST_DRAINED, MOST_EVICTED, Plan, Reason, delete_oldest,
        demanded, evictions, plan, refill, resume_scrubbing, supply,
    },
    retire::{dirty_slots, scrub},
    store::{Pool, SlotState},
};
use tracing::{debug, info, warn};

use crate::{
    housekeeping::{Housekeeping, UplinkChange},
    journal::Journal,
    worker::{Worker, log_failure},
};

/// How long slots that came back are gathered, where there is no hurry. Deleted together they cost
/// half of what they cost one by one.
const TOGETHER: Duration = Duration::from_millis(200);
/// How long a pool that cannot be filled is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What the pool controller remembers from round to round.
#[derive(Debug)]
pub(crate) struct PoolController {
    node: Arc<Node>,
    journal: Journal,
    pools: HashMap<PoolId, Memory>,
    /// When the last round ended, and whether it left something to do.
    last: Instant,
    more: bool,
    housekeeping: Housekeeping,
}

/// Of a pool.
#[derive(Debug)]
struct Memory {
    demand: Demand,
    /// ADDs that were counted at the last look.
    counted: u64,
    looked: Instant,
    /// Until when the controller leaves the pool alone, because building failed.
    until: Option<Instant>,
    /// Addresses of its ranges that no slot gets, as they were logged last.
    reserved: Vec<(IpAddr, Reserved)>,
}

impl PoolController {
    /// `uplink` reports that the uplink may have changed.
    pub(crate) fn new(node: Arc<Node>, uplink: Arc<UplinkChange>) -> Result<Self, NodeError> {
        resume_scrubbing(&node)?;
        Ok(Self {
            journal: Journal::new(&node)?,
            node,
            pools: HashMap::new(),
            last: Instant::now(),
            more: true,
            housekeeping: Housekeeping::new(uplink),
        })
    }
}

impl PoolController {
    /// Whether a round can wait, to do more work together. The last round was a moment ago and left
    /// nothing to do, and every pool has half of its warm slots.
    fn can_wait(&self) -> Result<bool, NodeError> {
        if self.more || self.last.elapsed() >= TOGETHER {
            return Ok(false);
        }
        for (_, pool) in self.node.pools()? {
            if 2 * supply(&self.node, pool.key)?.warm < pool.policy().warm {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Worker for PoolController {
    const NAME: &'static str = "pool controller";

    /// Runs a round on a thread of its own, because it enters and leaves namespaces.
    fn round(&mut self) -> Option<Instant> {
        let can_wait = log_failure("look at the pools", self.can_wait());
        if can_wait == Some(true) {
            return Some(self.last + TOGETHER);
        }
        let (node, pools, housekeeping) = (&self.node, &mut self.pools, &mut self.housekeeping);
        let done = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let deleted = log_failure("delete slots", delete_unwanted(node));
                    let looked = log_failure("reconcile the pools", look_after_pools(node, pools));
                    housekeeping.look(node);
                    deleted.unwrap_or(false) || looked.unwrap_or(false)
                })
                .join()
        });
        let more = done.unwrap_or_else(|_| {
            warn!("a round of the pool controller ended early");
            false
        });
        log_failure("read the journal", self.journal.log(&self.node));
        self.last = Instant::now();
        self.more = more;
        more.then(Instant::now)
    }
}

/// Deletes returned slots that no container may have again. Returns whether some are left for the next round.
fn delete_unwanted(node: &Node) -> Result<bool, NodeError> {
    let (_, mut unwanted) = dirty_slots(node)?;
    let more = unwanted.len() > MOST_DELETED;
    unwanted.truncate(MOST_DELETED);
    if !unwanted.is_empty() {
        scrub(node, &unwanted)?;
        failpoint::hit("controller:deleted");
        debug!("deleted {} slots that no container may have again", unwanted.len());
    }
    Ok(more)
}

/// Reconciles every pool. Returns whether work is left for the next round.
fn look_after_pools(
    node: &Node,
    memories: &mut HashMap<PoolId, Memory>,
) -> Result<bool, NodeError> {
    let pools = node.pools()?;
    memories.retain(|id, _| pools.iter().any(|(known, _)| known == id));
    let mut more = false;
    for (id, pool) in pools {
        let counted = demanded(node, &id)?;
        let memory = memories.entry(id.clone()).or_insert_with(|| Memory {
            demand: Demand::default(),
            counted,
            looked: Instant::now(),
            until: None,
            reserved: Vec::new(),
        });
        let done = look_after(node, &id, &pool, memory, counted);
        more |= log_failure(&format!("reconcile pool {id}"), done).unwrap_or(false);
    }
    Ok(more)
}

/// Reconciles one pool: evicts, drains and builds a bounded number of slots. Returns whether work is
/// left for the next round.
fn look_after(
    node: &Node,
    id: &PoolId,
    pool: &Pool,
    memory: &mut Memory,
    counted: u64,
) -> Result<bool, NodeError> {
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
    let evictions = evictions(&parked, now(), &policy, plan.evict());
    log_evicted(id, &node.evict_slots(&evictions)?);
    drain(node, id, pool, &plan)?;
    let count = to_build(node, pool, &plan)?;
    build(node, id, pool, memory, count)?;
    Ok(count == MOST_BUILT || plan.drain == MOST_DRAINED || evictions.len() == MOST_EVICTED)
}

fn drain(node: &Node, id: &PoolId, pool: &Pool, plan: &Plan) -> Result<(), NodeError> {
    if plan.drain > 0 {
        let number = delete_oldest(node, pool.key, SlotState::Warm, plan.drain)?;
        failpoint::hit("controller:drained");
        let warm = pool.policy().warm;
        info!(
            "pool {id}: deleted {number} warm slots: it is to keep {warm} ready (demand included)"
        );
    }
    Ok(())
}

/// Number of slots to build, within the room that the pool has now. ADDs may have built some while
/// others were deleted.
fn to_build(node: &Node, pool: &Pool, plan: &Plan) -> Result<u32, NodeError> {
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
) -> Result<(), NodeError> {
    if count == 0 {
        return Ok(());
    }
    let conf = NetConf::recorded(&pool.conf)?;
    if matches!(conf.ipam, IpamConf::Delegated(_)) {
        // The pool of a network with an IPAM plugin only counts ADDs.
        return Ok(());
    }
    log_reserved(id, &conf, memory)?;
    let began = Instant::now();
    let slots = refill(node, id, pool, count).inspect_err(|_| {
        memory.until = Some(Instant::now() + AFTER_FAILURE);
    })?;
    failpoint::hit("controller:built");
    let (number, took) = (slots.len(), began.elapsed());
    memory.demand.built(u32::try_from(number).unwrap_or(u32::MAX), took);
    info!("pool {id}: built {number} slots in {took:?}, {:.1} ADD/s", memory.demand.rate());
    Ok(())
}

/// Logs which addresses of a pool's ranges no slot gets, when they have changed. The operator may
/// count on them.
fn log_reserved(id: &PoolId, conf: &NetConf, memory: &mut Memory) -> Result<(), NodeError> {
    let reserved = reserved_addresses(conf)?;
    if memory.reserved != reserved {
        for (address, what) in &reserved {
            warn!("pool {id}: no slot gets {address}, it is {what}: leave it out of ipam.ranges");
        }
        memory.reserved = reserved;
    }
    Ok(())
}

/// Logs how many parked slots were deleted, for which reasons.
fn log_evicted(id: &PoolId, evicted: &[Reason]) {
    let mut numbers: BTreeMap<Reason, usize> = BTreeMap::new();
    for reason in evicted {
        *numbers.entry(*reason).or_default() += 1;
    }
    for (reason, number) in numbers {
        info!("pool {id}: deleted {number} parked slots: {reason}");
    }
}
