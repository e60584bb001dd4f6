//! Traces: which functions start when, and for how long.

use std::{f64::consts::TAU, time::Duration};

use fastrand::Rng;

/// Decides all traces.
pub const SEED: u64 = 4;
/// When the first function may start: the pool is full by then.
pub const QUIET: Duration = Duration::from_secs(10);
/// How long it is quiet before the burst.
pub const HOUR: Duration = Duration::from_hours(1);
/// How long a function runs on average; the times are exponentially distributed.
pub const LASTS: Duration = Duration::from_secs(1);
/// Name of the trace whose pool has limits.
pub const MIXED: &str = "mixed";
/// Name of the trace with the least to hold on to.
pub const BURST: &str = "burst";
/// Name of the trace with the least change.
pub const STEADY: &str = "steady";
/// Name of the trace in which no function comes twice.
pub const ONE_SHOT: &str = "one-shot";
/// Name of the trace whose containers name no function.
pub const ANONYMOUS: &str = "anonymous";
/// Name of the same with nothing to announce it.
pub const ANONYMOUS_BURST: &str = "anonymous-burst";
/// How many functions start in the burst, within a second.
pub const BURST_SIZE: u32 = 500;

/// One invocation.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// When, since the beginning.
    pub at: Duration,
    /// Of which tenant.
    pub tenant: u32,
    /// Which function of the tenant, if the container names one.
    pub function: Option<u32>,
    /// For how long it runs.
    pub lasts: Duration,
}

/// Invocations, in their order.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its name.
    pub name: &'static str,
    /// What it is like.
    pub text: &'static str,
    /// The invocations.
    pub starts: Vec<Start>,
    /// When it ends.
    pub until: Duration,
    /// The part of its time that is drawn.
    pub drawn: (Duration, Duration),
}

/// Every trace. Traces without an end of their own last for `length`.
#[must_use]
pub fn all(length: Duration) -> [Trace; 7] {
    [
        steady(length),
        burst(),
        diurnal(length),
        one_shot(length),
        mixed(length),
        anonymous(length),
        anonymous_burst(),
    ]
}

/// 50 starts a second.
fn steady(length: Duration) -> Trace {
    let mut draw = Draw::new(length);
    let starts = draw.starts(|_| 50.0, 50.0, |rng| (0, Some(rng.u32(0..100))));
    let text = "50 starts a second, of 100 functions";
    Trace::of(length, STEADY, text, starts)
}

/// Nothing, and then many at once.
fn burst() -> Trace {
    let text = "an hour of quiet, then 500 starts within a second, of 100 functions";
    burst_of(BURST, text, |rng| Some(rng.u32(0..100)))
}

/// The same, of containers that name no function: each has a trust domain of its own.
fn anonymous_burst() -> Trace {
    let text = "an hour of quiet, then 500 starts within a second, without a function";
    burst_of(ANONYMOUS_BURST, text, |_| None)
}

fn burst_of(
    name: &'static str,
    text: &'static str,
    function: impl Fn(&mut Rng) -> Option<u32>,
) -> Trace {
    let mut draw = Draw::new(HOUR);
    let mut at: Vec<f64> = (0..BURST_SIZE).map(|_| draw.rng.f64()).collect();
    at.sort_by(f64::total_cmp);
    let starts = at.into_iter().map(|at| Start {
        at: HOUR + Duration::from_secs_f64(at),
        tenant: 0,
        function: function(&mut draw.rng),
        lasts: draw.lasts(),
    });
    Trace {
        name,
        text,
        starts: starts.collect(),
        until: HOUR + Duration::from_mins(15),
        drawn: (HOUR.saturating_sub(Duration::from_secs(1)), HOUR + Duration::from_secs(9)),
    }
}

/// A day in an hour.
fn diurnal(length: Duration) -> Trace {
    let mut draw = Draw::new(length);
    let rate = |at: f64| 41.0 - 39.0 * (TAU * at / length.as_secs_f64()).cos();
    let starts = draw.starts(rate, 80.0, |rng| (0, Some(rng.u32(0..100))));
    let text = "a day's curve, 24 times as fast: 2 starts a second at its ends, 80 in the middle, of \
                100 functions";
    Trace::of(length, "diurnal", text, starts)
}

/// No function comes twice.
fn one_shot(length: Duration) -> Trace {
    let mut draw = Draw::new(length);
    let mut next = 0;
    let starts = draw.starts(
        |_| 50.0,
        50.0,
        |_| {
            next += 1;
            (0, Some(next))
        },
    );
    Trace::of(length, ONE_SHOT, "50 starts a second, each of another function", starts)
}

/// Containers that name no function. With scope `function`, no slot of theirs is used twice.
fn anonymous(length: Duration) -> Trace {
    let mut draw = Draw::new(length);
    let starts = draw.starts(|_| 50.0, 50.0, |_| (0, None));
    Trace::of(length, ANONYMOUS, "50 starts a second, without a function", starts)
}

/// Few functions have most of the starts.
fn mixed(length: Duration) -> Trace {
    const FUNCTIONS: u32 = 300;
    const TENANTS: u32 = 10;
    let weights: Vec<f64> = (1..=FUNCTIONS).map(|rank| f64::from(rank).powf(-1.1)).collect();
    let total: f64 = weights.iter().sum();
    let mut draw = Draw::new(length);
    let starts = draw.starts(
        |_| 30.0,
        30.0,
        |rng| {
            let mut left = rng.f64() * total;
            let rank = (0..).zip(&weights).find(|(_, weight)| {
                left -= **weight;
                left <= 0.0
            });
            let function = rank.map_or(FUNCTIONS - 1, |(rank, _)| rank);
            (function % TENANTS, Some(function))
        },
    );
    let text = "30 starts a second, of 300 functions of 10 tenants, their shares by \
                Zipf's law with exponent 1.1; the pool keeps 6 slots for a function, 32 for a \
                tenant, and each for a minute";
    Trace::of(length, MIXED, text, starts)
}

impl Trace {
    fn of(length: Duration, name: &'static str, text: &'static str, starts: Vec<Start>) -> Self {
        let until = QUIET + length;
        Self { name, text, starts, until, drawn: (Duration::ZERO, until) }
    }
}

/// Random draws, for a trace of some length.
struct Draw {
    rng: Rng,
    length: Duration,
}

impl Draw {
    fn new(length: Duration) -> Self {
        Self { rng: Rng::with_seed(SEED), length }
    }

    /// An exponentially distributed number, 1 on average.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.rng.f64()).ln()
    }

    fn lasts(&mut self) -> Duration {
        LASTS.mul_f64(self.exponential())
    }

    /// Independent starts, by tenants and functions that `who` chooses. `rate` gives the starts a second
    /// at a time in seconds, `highest` at most.
    fn starts(
        &mut self,
        rate: impl Fn(f64) -> f64,
        highest: f64,
        mut who: impl FnMut(&mut Rng) -> (u32, Option<u32>),
    ) -> Vec<Start> {
        let (mut starts, mut at) = (Vec::new(), 0.0);
        loop {
            at += self.exponential() / highest;
            if at >= self.length.as_secs_f64() {
                return starts;
            }
            // Of starts at the highest rate, keep the share that the present rate is of it.
            if self.rng.f64() * highest <= rate(at) {
                let (tenant, function) = who(&mut self.rng);
                let at = QUIET + Duration::from_secs_f64(at);
                starts.push(Start { at, tenant, function, lasts: self.lasts() });
            }
        }
    }
}
