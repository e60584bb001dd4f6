//! How many slots a pool should keep ready, how many to build for that, and how many to delete.
//!
//! The ready slots must last until the next ones are built. The pool controller looks at a pool at
//! intervals, and builds what ADDs have taken since. While it builds, ADDs take more. With ADDs
//! coming at `rate` a second, a look every `look` seconds and `each` seconds a slot, building takes
//! the share `rate × each` of all time, and so
//!
//! ```text
//! lead   = look / (1 − rate × each)        seconds from one refill to the next
//! demand = rate × lead                     ADDs in that time, on average
//! target = demand + 3 × √demand            at least `warm`, at most `maxSlots`
//! ```
//!
//! Arrivals of independent callers are a Poisson process, whose standard deviation is the root of
//! the mean: with three of them one lead in some hundreds runs short, by an ADD or two. Where ADDs come
//! faster than slots can be built, no stock is enough, and the target is `maxSlots`.
//!
//! All three are measured. `rate` is the greater of two averages: the fast one follows a ramp
//! within a second, and the slow one does not forget in a pause of some seconds.

use std::time::Duration;

use crate::{model::PoolPolicy, store::SlotState};

/// Time constants of the two average rates.
const FAST: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_secs(10);
/// Interval between looks without a notification, and the least that a plan assumes.
const LOOK: Duration = Duration::from_millis(200);
/// Time to build a slot before any was measured.
const EACH: Duration = Duration::from_micros(2500);
/// Over how many slots the time to build one is averaged.
const MEASURED: f64 = 32.0;
/// Standard deviations of the demand that are kept beyond its mean.
const MARGIN: f64 = 3.0;
/// How long a pool holds more ready slots than it needs before it deletes them.
const SURPLUS_AFTER: Duration = Duration::from_mins(1);
/// Most slots built by one decision. They are ready together, and the next decision knows the demand better.
pub const MOST_BUILT: u32 = 16;
/// Most ready slots deleted by one decision.
pub const MOST_DRAINED: u32 = 64;

/// How many slots of a pool are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Supply {
    /// Ready for any container.
    pub warm: u32,
    /// Waiting for their function.
    pub parked: u32,
    /// In all states together.
    pub total: u32,
}

impl Supply {
    /// Counts `count` slots that are in `state`.
    pub fn add(&mut self, state: SlotState, count: u32) {
        match state {
            SlotState::Warm => self.warm += count,
            SlotState::Parked => self.parked += count,
            _ => {}
        }
        self.total += count;
    }
}

/// What is remembered of a pool from one decision to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// ADDs a second that need a warm slot, over [`FAST`] and over [`SLOW`].
    fast: f64,
    slow: f64,
    /// Seconds between looks, building left out, over [`SLOW`].
    look: f64,
    /// Seconds that a slot takes to build, over the last [`MEASURED`] slots.
    each: f64,
    /// Time spent building since the last look.
    building: Duration,
    /// For how long there have been more ready slots than needed.
    surplus: Duration,
}

impl Default for Demand {
    /// Before anything was measured.
    fn default() -> Self {
        Self {
            fast: 0.0,
            slow: 0.0,
            look: LOOK.as_secs_f64(),
            each: EACH.as_secs_f64(),
            building: Duration::ZERO,
            surplus: Duration::ZERO,
        }
    }
}

impl Demand {
    /// ADDs a second that a plan assumes.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.fast.max(self.slow)
    }

    /// Takes note of `count` ADDs in the `interval` since the last look, however short: each counts
    /// for as much as the time constant allows.
    pub fn observe(&mut self, count: u64, interval: Duration) {
        let seconds = interval.as_secs_f64().max(f64::EPSILON);
        #[expect(clippy::cast_precision_loss, reason = "nobody starts 2^52 containers")]
        let current = count as f64 / seconds;
        blend(&mut self.fast, current, seconds / FAST.as_secs_f64());
        blend(&mut self.slow, current, seconds / SLOW.as_secs_f64());
        let look = interval.saturating_sub(std::mem::take(&mut self.building)).as_secs_f64();
        // An interval counts by its length, because more ADDs fall into a long one.
        blend(&mut self.look, look, look / SLOW.as_secs_f64());
    }

    /// Takes note that `count` slots were built in `time`.
    pub fn built(&mut self, count: u32, time: Duration) {
        self.building += time;
        if count > 0 {
            let slots = f64::from(count);
            blend(&mut self.each, time.as_secs_f64() / slots, slots / MEASURED);
        }
    }

    /// How many slots should be ready, as far as demand shows.
    fn target(&self) -> u32 {
        let rate = self.rate();
        let idle = 1.0 - rate * self.each;
        if idle <= 0.0 {
            return u32::MAX;
        }
        let demand = rate * self.look.max(LOOK.as_secs_f64()) / idle;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is no less than 0, and more than a u32 saturates"
        )]
        let target = (demand + MARGIN * demand.sqrt()).ceil() as u32;
        target
    }
}

/// Lets `value` into an average; `weight` is its length, as a multiple of what the average remembers.
fn blend(average: &mut f64, value: f64, weight: f64) {
    // Exact for small weights, too.
    *average += (value - *average) * -(-weight).exp_m1();
}

/// What is to be done to a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    /// Slots that should be ready.
    pub target: u32,
    /// How many of them are not.
    pub lack: u32,
    /// How many more slots there may be.
    pub room: u32,
    /// How many more there are than there may be.
    pub excess: u32,
    /// Ready slots to delete, beginning with the longest wait.
    pub drain: u32,
}

impl Plan {
    /// How many parked slots have to go, so that there is room for ready ones.
    #[must_use]
    pub fn evict(&self) -> u32 {
        self.excess.saturating_add(self.lack.saturating_sub(self.room))
    }

    /// Slots to build, where there may be `room` more by then.
    #[must_use]
    pub fn build(&self, room: u32) -> u32 {
        self.lack.min(room).min(MOST_BUILT)
    }
}

/// Decides what is to be done to a pool, `interval` after the last decision.
#[must_use]
pub fn plan(policy: &PoolPolicy, supply: Supply, demand: &mut Demand, interval: Duration) -> Plan {
    let target = target(policy, demand);
    let surplus = supply.warm > target;
    demand.surplus = if surplus { demand.surplus + interval } else { Duration::ZERO };
    let excess = supply.total.saturating_sub(policy.max);
    Plan {
        target,
        lack: target.saturating_sub(supply.warm),
        room: policy.max.saturating_sub(supply.total),
        excess,
        drain: drain(policy, supply, demand, target, excess).min(MOST_DRAINED),
    }
}

/// How many slots should be ready.
fn target(policy: &PoolPolicy, demand: &Demand) -> u32 {
    if policy.warm == 0 {
        // The pool keeps no warm slots.
        return 0;
    }
    demand.target().max(policy.warm).min(policy.max)
}

/// How many ready slots to delete. Those beyond the maximum go at once, those beyond the need after
/// [`SURPLUS_AFTER`].
fn drain(policy: &PoolPolicy, supply: Supply, demand: &Demand, target: u32, excess: u32) -> u32 {
    let Supply { warm, parked, .. } = supply;
    if policy.warm == 0 {
        return warm;
    }
    let lasting = demand.surplus >= SURPLUS_AFTER;
    let surplus = if lasting { warm.saturating_sub(target) } else { 0 };
    excess.saturating_sub(parked).min(warm).max(surplus)
}

#[cfg(test)]
mod tests;
