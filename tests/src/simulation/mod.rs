//! The simulation: the policies of pools against traces of invocations, on a virtual clock.
//!
//! The policies are the real code ([`repoint::pool`]), called as the pool controller calls it. The node
//! is a model (`run`) with measured costs (`costs`). A run is the same each time: traces come from a
//! fixed seed.

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
    /// A trace, and a pool whose used slots go to containers of `scope`.
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

/// Every trace, with the widest and with the narrowest scope. A used slot goes to any container, or only
/// to its own function. Traces without an end of their own last for `length`.
#[must_use]
pub fn scenarios(length: Duration) -> Vec<Scenario> {
    [Scope::Network, Scope::Function]
        .into_iter()
        .flat_map(|scope| trace::all(length).map(|trace| Scenario::of(trace, scope)))
        .collect()
}
