//! The pool controller's rounds on the virtual clock: the steps of `agent/src/pool_controller.rs`, in its order.

use std::time::Duration;

use repoint::{
    model::PoolPolicy,
    pool::{Demand, MOST_DRAINED, MOST_EVICTED, Plan, evictions, plan},
};

use super::{
    Moment,
    measure::Measure,
    slots::{Number, Slots},
};

/// What the pool controller remembers.
#[derive(Debug, Default)]
pub(super) struct PoolController {
    demand: Demand,
    /// ADDs that wanted a warm slot, since the last look.
    pub(super) demanded: u64,
    looked: Moment,
}

/// What a look leaves to do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    /// Slots to take down.
    pub(super) delete_slots: usize,
    /// What was decided.
    plan: Plan,
    /// Whether to look again at once.
    pub(super) more: bool,
}

impl Work {
    /// Slots to build, where there may be `room` more.
    pub(super) fn build(&self, room: u32) -> u32 {
        self.plan.build(room)
    }
}

impl PoolController {
    /// Decides what is to be done to the pool.
    pub(super) fn look(
        &mut self,
        slots: &mut Slots,
        policy: &PoolPolicy,
        now: Moment,
        measure: &mut Measure,
    ) -> Work {
        let interval = Duration::from_nanos(now - self.looked);
        self.looked = now;
        self.demand.observe(std::mem::take(&mut self.demanded), interval);
        let plan = plan(policy, slots.supply(), &mut self.demand, interval);
        let evicted = evict_slots(slots, policy, &plan, now, measure);
        let drained = slots.drain(plan.drain);
        measure.looked(plan.target, interval);
        if evicted < MOST_EVICTED {
            measure.limits(slots.parked());
        }
        Work {
            delete_slots: evicted + drained,
            plan,
            more: evicted == MOST_EVICTED || plan.drain == MOST_DRAINED,
        }
    }

    /// Takes note that slots were built.
    pub(super) fn built(&mut self, count: u32, took: Duration) {
        self.demand.built(count, took);
    }
}

/// Takes out parked slots that are to be deleted; says how many.
fn evict_slots(
    slots: &mut Slots,
    policy: &PoolPolicy,
    plan: &Plan,
    now: Moment,
    measure: &mut Measure,
) -> usize {
    let evictions = evictions(slots.parked(), now, policy, plan.evict());
    for eviction in &evictions {
        measure.evicted(eviction, now);
        if let Ok(slot) = Number::try_from(eviction.slot.0) {
            slots.unpark(slot, eviction.since);
        }
    }
    evictions.len()
}
