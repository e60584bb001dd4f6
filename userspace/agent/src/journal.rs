//! Logs how containers were served. Plugins record it in the database, which costs an ADD less than
//! a notification.

use std::{
    collections::BTreeMap,
    mem,
    time::{Duration, Instant},
};

use repoint::{
    model::{Decision, Decline, Served},
    node::{Node, NodeError},
    serve::NO_POOL,
    store::Entry,
};
use tracing::{debug, info, warn};

/// Least time between two warnings that pools decline ADDs.
const QUIET: Duration = Duration::from_mins(1);

/// What was logged last.
#[derive(Debug)]
pub(crate) struct Journal {
    last: u64,
    declined: Declined,
}

/// ADDs that pools declined since the last warning.
#[derive(Debug, Default)]
struct Declined {
    warned: Option<Instant>,
    /// Number of ADDs by reason.
    reasons: BTreeMap<String, u64>,
}

impl Declined {
    fn add(&mut self, decision: &Decision) {
        *self.reasons.entry(decision.reason.clone()).or_default() += 1;
    }

    /// The warning that is due now, if any.
    fn due(&mut self, now: Instant) -> Option<String> {
        let is_quiet = self.warned.is_some_and(|warned| now.duration_since(warned) < QUIET);
        if is_quiet || self.reasons.is_empty() {
            return None;
        }
        self.warned = Some(now);
        let number: u64 = self.reasons.values().sum();
        let reasons = mem::take(&mut self.reasons);
        let reasons: Vec<_> =
            reasons.into_iter().map(|(reason, number)| format!("{reason} ({number})")).collect();
        Some(format!("{number} ADDs were not served from a pool: {}", reasons.join("; ")))
    }
}

impl Journal {
    /// A journal of the decisions from now on.
    pub(crate) fn new(node: &Node) -> Result<Self, NodeError> {
        let last = node.last_decision()?;
        Ok(Self { last, declined: Declined::default() })
    }

    /// Logs the decisions since the last time: at level info where a pool could not serve, at debug
    /// otherwise.
    pub(crate) fn log(&mut self, node: &Node) -> Result<(), NodeError> {
        let decisions = node.decisions_after(self.last)?;
        for Entry { number, attachment, decision, .. } in decisions {
            let missed = number.saturating_sub(self.last + 1);
            if missed > 0 {
                info!("{missed} decisions were made too fast to be logged");
            }
            self.last = number;
            if decision.served == Served::None && decision.reason != NO_POOL {
                info!("ADD {attachment}: {decision}");
                if decision.reason != Decline::Asked.to_string() {
                    self.declined.add(&decision);
                }
            } else {
                debug!("ADD {attachment}: {decision}");
            }
        }
        if let Some(warning) = self.declined.due(Instant::now()) {
            warn!("{warning}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declined_adds_are_a_warning_at_most_once_a_minute() {
        let mut declined = Declined::default();
        let begun = Instant::now();
        let decision = |reason: &str| Decision { served: Served::None, reason: reason.to_owned() };
        assert_eq!(declined.due(begun), None);
        declined.add(&decision("full"));
        let first = declined.due(begun).unwrap();
        assert_eq!(first, "1 ADDs were not served from a pool: full (1)");
        for reason in ["full", "interfaces", "full"] {
            declined.add(&decision(reason));
        }
        assert_eq!(declined.due(begun + QUIET / 2), None);
        let second = declined.due(begun + QUIET).unwrap();
        assert_eq!(second, "3 ADDs were not served from a pool: full (2); interfaces (1)");
        assert_eq!(declined.due(begun + 3 * QUIET), None);
    }
}
