//! The simulation: the policies of pools against traces of invocations, on a virtual clock.
//!
//! What decides is the real thing ([`repoint::pool`]), called as the pool controller calls it. What is
//! decided upon is a model of a node (`run`), with what things cost there as measured (`costs`).
//! A run is the same each time: traces come from a fixed seed.

use std::time::Duration;

use repoint::model::{PoolPolicy, Scope};

pub mod costs;
pub mod measure;
pub mod page;
mod plot;
mod pool_controller;
pub mod report;
mod run;
mod slots;
pub mod table;
pub mod trace;

#[cfg(test)]
mod tests;

use measure::Measured;
use trace::Trace;

/// A moment, in nanoseconds on the virtual clock.
type Moment = u64;

/// A duration on the virtual clock, in nanoseconds.
fn nanoseconds(duration: Duration) -> Moment {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is simulated: a trace of invocations, and the pool that serves it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The invocations.
    pub trace: Trace,
    /// The pool's policy.
    pub policy: PoolPolicy,
}

impl Scenario {
    /// A trace, with a used slot going to those that `scope` says.
    fn of(trace: Trace, scope: Scope) -> Self {
        let policy = PoolPolicy { warm: 8, max: 512, scope, ..PoolPolicy::default() };
        let narrow = PoolPolicy {
            parked_per_function: Some(6),
            parked_per_tenant: Some(32),
            idle_ttl: Some(Duration::from_mins(1)),
            ..policy
        };
        let policy = if trace.name == trace::MIXED { narrow } else { policy };
        Self { trace, policy }
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Measured {
        run::run(self)
    }
}

/// Every trace, with the widest and with the narrowest scope: a used slot goes to anybody, or to its
/// own function only. Traces without an end of their own last so long.
#[must_use]
pub fn scenarios(length: Duration) -> Vec<Scenario> {
    [Scope::Network, Scope::Function]
        .into_iter()
        .flat_map(|scope| trace::all(length).map(|trace| Scenario::of(trace, scope)))
        .collect()
}
