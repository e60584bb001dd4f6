//! What a run shows.

use std::time::Duration;

use repoint::{
    model::PoolPolicy,
    pool::{Eviction, Reason},
    store::Parked,
};

use super::{Moment, nanoseconds, slots::Slots, trace::Trace};
use crate::bench::stats::Summary;

/// How long after the first start the rate is taken for known.
pub const FIRST_SECONDS: Duration = Duration::from_secs(5);
/// Points of a drawn curve.
const POINTS: u64 = 300;

/// How a start was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// With a slot that its trust domain had before.
    Reused,
    /// With a slot that had no user before.
    Warm,
    /// With one that was built while it waited.
    Built,
    /// With none: the pool was full.
    Declined,
}

/// A part of the time that is drawn: the most slots that were held, and the fewest that were ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// In all states.
    pub held: u32,
    /// Ready for any container.
    pub ready: u32,
}

/// What a run showed.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// When each start came, since the beginning, and how it was served.
    pub starts: Vec<(Duration, Served)>,
    /// The longest wait for a slot that was built.
    pub longest_build: Duration,
    /// Fewest slots ready, from the first start on.
    pub fewest_ready: u32,
    /// Slots held, on average over the time from the first start on.
    pub mean_held: f64,
    /// Most slots held.
    pub most_held: u32,
    /// From when the ready slots fell below the target until they were back, each time.
    pub lags: Vec<Duration>,
    /// Most slots found waiting for a function after the pool controller had looked.
    pub most_of_function: u32,
    /// Likewise for a tenant.
    pub most_of_tenant: u32,
    /// By how much a slot has waited too long, at most.
    pub overdue: Duration,
    /// The longest time between two looks.
    pub longest_look: Duration,
    /// What is drawn, in parts of equal length.
    pub curve: Vec<Point>,
}

impl Measured {
    /// How many starts were served so.
    #[must_use]
    pub fn count(&self, served: Served) -> usize {
        self.starts.iter().filter(|(_, how)| *how == served).count()
    }

    /// Which part of the starts were served with a slot that was there.
    #[must_use]
    pub fn hits(&self) -> f64 {
        hits(&self.starts)
    }

    /// The same of those starts that came [`FIRST_SECONDS`] after the first one or later.
    #[must_use]
    pub fn later_hits(&self) -> f64 {
        let first = self.starts.first().map_or(Duration::ZERO, |(at, _)| *at);
        hits(&self.starts[self.starts.partition_point(|(at, _)| *at < first + FIRST_SECONDS)..])
    }

    /// Median of the lags; zero where there was none.
    #[must_use]
    pub fn median_lag(&self) -> Duration {
        Summary::of(&self.lags).map_or(Duration::ZERO, |summary| summary.p50)
    }

    /// The longest lag, likewise.
    #[must_use]
    pub fn longest_lag(&self) -> Duration {
        self.lags.iter().max().copied().unwrap_or_default()
    }
}

fn hits(starts: &[(Duration, Served)]) -> f64 {
    let hit = |(_, how): &&(Duration, Served)| matches!(how, Served::Reused | Served::Warm);
    share(starts.iter().filter(hit).count(), starts.len())
}

/// A part of a whole; of nothing, all.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "thousands, not 2^52")]
pub fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Measures while it runs.
#[derive(Debug)]
pub(super) struct Measure {
    measured: Measured,
    policy: PoolPolicy,
    /// From when on, and until when, slots are averaged.
    whole: (Moment, Moment),
    drawn: (Moment, Moment),
    /// Slots times nanoseconds, up to the last change.
    held: u128,
    changed: Moment,
    now: Point,
    target: u32,
    /// Since when there have been fewer ready slots than there should be.
    below: Option<Moment>,
}

impl Measure {
    pub(super) fn new(trace: &Trace, policy: &PoolPolicy) -> Self {
        let first = trace.starts.first().map_or(Duration::ZERO, |start| start.at);
        let (from, until) = trace.drawn;
        Self {
            measured: Measured { fewest_ready: u32::MAX, ..Measured::default() },
            policy: *policy,
            whole: (nanoseconds(first), nanoseconds(trace.until)),
            drawn: (nanoseconds(from), nanoseconds(until)),
            held: 0,
            changed: 0,
            now: Point { held: 0, ready: 0 },
            target: 0,
            below: None,
        }
    }

    pub(super) fn served(&mut self, at: Moment, served: Served) {
        self.measured.starts.push((Duration::from_nanos(at), served));
    }

    pub(super) fn waited(&mut self, time: Duration) {
        self.measured.longest_build = self.measured.longest_build.max(time);
    }

    /// The pool controller looked.
    pub(super) fn looked(&mut self, target: u32, interval: Duration) {
        self.target = target;
        self.measured.longest_look = self.measured.longest_look.max(interval);
    }

    /// The pool controller evicted a slot.
    pub(super) fn evicted(&mut self, eviction: &Eviction, now: Moment) {
        if eviction.reason == Reason::Idle {
            let waited = Duration::from_nanos(now - eviction.since);
            let overdue = waited.saturating_sub(self.policy.idle_ttl.unwrap_or_default());
            self.measured.overdue = self.measured.overdue.max(overdue);
        }
    }

    /// These slots wait, after the pool controller looked.
    pub(super) fn limits(&mut self, parked: &[Parked]) {
        let PoolPolicy { parked_per_function, parked_per_tenant, .. } = self.policy;
        if parked_per_function.or(parked_per_tenant).is_none() {
            return;
        }
        let most = |same: fn(&Parked, &Parked) -> bool| {
            let longest = parked.chunk_by(same).map(<[Parked]>::len).max().unwrap_or(0);
            u32::try_from(longest).unwrap_or(u32::MAX)
        };
        let tenant = most(|one, other| one.tenant == other.tenant);
        let function =
            most(|one, other| (one.tenant, one.function) == (other.tenant, other.function));
        self.measured.most_of_tenant = self.measured.most_of_tenant.max(tenant);
        self.measured.most_of_function = self.measured.most_of_function.max(function);
    }

    /// Something happened.
    pub(super) fn happened(&mut self, slots: &Slots, now: Moment) {
        let supply = slots.supply();
        self.pass(now);
        self.now = Point { held: supply.total, ready: supply.warm };
        self.measured.most_held = self.measured.most_held.max(self.now.held);
        if now >= self.whole.0 {
            self.measured.fewest_ready = self.measured.fewest_ready.min(self.now.ready);
        }
        if self.now.ready < self.target {
            self.below.get_or_insert(now);
        } else if let Some(since) = self.below.take().filter(|since| *since >= self.whole.0) {
            self.measured.lags.push(Duration::from_nanos(now - since));
        }
        self.draw(now);
    }

    /// Time passes in which nothing changes.
    fn pass(&mut self, now: Moment) {
        let (from, until) = self.whole;
        let passed = now.clamp(from, until) - self.changed.clamp(from, until);
        self.held += u128::from(self.now.held) * u128::from(passed);
        self.changed = now;
        self.draw(now);
    }

    /// Draws what is now, up to a moment.
    fn draw(&mut self, now: Moment) {
        let (from, until) = self.drawn;
        let length = (until - from).div_ceil(POINTS);
        if now < from || now >= until {
            return;
        }
        let Ok(part) = usize::try_from((now - from) / length) else { return };
        let curve = &mut self.measured.curve;
        curve.resize((part + 1).max(curve.len()), self.now);
        let Point { held, ready } = &mut curve[part];
        *held = self.now.held.max(*held);
        *ready = self.now.ready.min(*ready);
    }

    /// What the run showed.
    pub(super) fn end(mut self) -> Measured {
        let (from, until) = self.whole;
        self.pass(until);
        #[expect(clippy::cast_precision_loss, reason = "a mean of some digits is wanted")]
        let mean = self.held as f64 / (until - from).max(1) as f64;
        Measured { mean_held: mean, ..self.measured }
    }
}
