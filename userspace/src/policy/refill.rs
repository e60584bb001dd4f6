//! How many slots a pool should build, and how many give up.

use std::time::Duration;

use crate::store::{PoolPolicy, SlotState};

/// For how long the slots that are ready should last when ADDs come at the present rate and none
/// comes back: building is a few milliseconds each, and bursts are uneven.
const LEAD: Duration = Duration::from_secs(2);
/// Time constant of the average rate.
const MEMORY: Duration = Duration::from_secs(10);
/// How long a pool holds more ready slots than it needs before it gives them up.
const SURPLUS_AFTER: Duration = Duration::from_mins(1);
/// Most slots built by one decision: the next one knows better.
const MOST_BUILT: u32 = 256;
/// Most slots given up by one decision.
const MOST_GIVEN_UP: u32 = 256;

/// How many slots of a pool are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Supply {
    /// Ready for anybody.
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

/// How many ADDs come.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Demand {
    /// ADDs a second, averaged.
    rate: f64,
    /// For how long there have been more ready slots than needed.
    surplus: Duration,
}

impl Demand {
    /// ADDs a second, averaged over the last ten.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes note of `count` ADDs in the last `interval`, which should not be shorter than a second:
    /// a few in some milliseconds are no rate.
    pub fn observe(&mut self, count: u64, interval: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "nobody starts 2^52 containers")]
        let current = count as f64 / interval.as_secs_f64().max(1.0);
        let kept = (-interval.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.rate = self.rate * kept + current * (1.0 - kept);
    }
}

/// What is to be done to a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    /// Slots to build.
    pub build: u32,
    /// Parked slots to give up, those that have rested longest first.
    pub evict: u32,
    /// Ready slots to give up, likewise.
    pub drain: u32,
}

/// Decides what is to be done to a pool, `interval` after the last decision.
#[must_use]
pub fn plan(size: PoolPolicy, supply: Supply, demand: &mut Demand, interval: Duration) -> Plan {
    let target = target(size, demand.rate);
    demand.surplus = if supply.warm > target { demand.surplus + interval } else { Duration::ZERO };
    let room = size.max.saturating_sub(supply.total);
    let missing = target.saturating_sub(supply.warm);
    let excess = supply.total.saturating_sub(size.max);
    Plan {
        build: missing.min(room).min(MOST_BUILT),
        evict: missing.saturating_sub(room).max(excess).min(supply.parked).min(MOST_GIVEN_UP),
        drain: drain(size, supply, demand, target).min(MOST_GIVEN_UP),
    }
}

/// How many slots should be ready.
fn target(size: PoolPolicy, rate: f64) -> u32 {
    if size.warm == 0 {
        // Nobody wants slots that nobody has used.
        return 0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is no less than 0, and more than a u32 saturates"
    )]
    let demanded = (rate * LEAD.as_secs_f64()).ceil() as u32;
    demanded.max(size.warm).min(size.max)
}

/// What is beyond the maximum goes at once, what is beyond the need when it has lasted.
fn drain(size: PoolPolicy, supply: Supply, demand: &Demand, target: u32) -> u32 {
    let beyond = supply.total.saturating_sub(size.max).saturating_sub(supply.parked);
    let surplus = supply.warm.saturating_sub(target);
    let lasting = demand.surplus >= SURPLUS_AFTER || size.warm == 0;
    beyond.min(supply.warm).max(if lasting { surplus } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn size(warm: u32, max: u32) -> PoolPolicy {
        PoolPolicy { warm, max, ..PoolPolicy::default() }
    }

    fn supply(warm: u32, parked: u32, busy: u32) -> Supply {
        Supply { warm, parked, total: warm + parked + busy }
    }

    #[test]
    fn a_pool_is_filled_to_its_low_water_mark_and_no_further() {
        let mut demand = Demand::default();
        for (have, build) in [(0, 8), (5, 3), (8, 0), (20, 0)] {
            let plan = plan(size(8, 100), supply(have, 0, 0), &mut demand, SECOND);
            assert_eq!(plan, Plan { build, ..Plan::default() }, "{have} warm");
        }
    }

    #[test]
    fn demand_raises_the_target_to_the_maximum_and_no_further() {
        let mut demand = Demand::default();
        for _ in 0..30 {
            demand.observe(50, SECOND);
        }
        assert!((45.0..=50.0).contains(&demand.rate()), "{demand:?}");
        assert!(plan(size(8, 1000), supply(8, 0, 0), &mut demand, SECOND).build > 80);
        assert_eq!(plan(size(8, 40), supply(8, 0, 10), &mut demand, SECOND).build, 22);
        for _ in 0..120 {
            demand.observe(0, SECOND);
        }
        assert_eq!(plan(size(8, 1000), supply(8, 0, 0), &mut demand, SECOND).build, 0);
    }

    #[test]
    fn a_surplus_goes_when_it_has_lasted() {
        let mut demand = Demand::default();
        let full = supply(20, 0, 0);
        for _ in 0..59 {
            assert_eq!(plan(size(8, 100), full, &mut demand, SECOND).drain, 0);
        }
        assert_eq!(plan(size(8, 100), full, &mut demand, SECOND).drain, 12);
        // A pool that is switched off is emptied at once.
        assert_eq!(plan(size(0, 100), full, &mut Demand::default(), SECOND).drain, 20);
    }

    #[test]
    fn parked_slots_make_room_for_ready_ones() {
        let mut demand = Demand::default();
        let plan = plan(size(8, 100), supply(3, 90, 7), &mut demand, SECOND);
        assert_eq!(plan, Plan { build: 0, evict: 5, drain: 0 });
    }

    #[test]
    fn more_than_the_maximum_is_given_up_parked_first_and_busy_never() {
        let mut demand = Demand::default();
        let plan = plan(size(4, 10), supply(4, 3, 8), &mut demand, SECOND);
        assert_eq!(plan, Plan { build: 0, evict: 3, drain: 2 });
    }
}
