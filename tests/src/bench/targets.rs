//! What the project promises, beside what was measured.

use serde::Serialize;

use super::{
    contestant::{BRIDGE_MASQUERADE, Operation, PTP, PTP_MASQUERADE, REPOINT, REPOINT_MASQUERADE},
    growth::{ATTACHMENTS, EDGE, Growth},
    latency::{self, Latency},
    stats::ratio,
};

/// A ratio of two medians that shall not be above a limit.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// What is compared with what.
    pub what: String,
    /// The ratio.
    pub measured: f64,
    /// Its limit.
    pub at_most: f64,
    /// Whether it is kept.
    pub met: bool,
}

impl Target {
    fn new(what: String, measured: f64, at_most: f64) -> Self {
        Self { what, measured, at_most, met: measured <= at_most }
    }
}

/// Limits of our median against that of a reference plugin that does the same.
const AGAINST: [(Operation, &str, &str, f64); 5] = [
    (Operation::Add, REPOINT, PTP, 0.5),
    (Operation::Add, REPOINT_MASQUERADE, PTP_MASQUERADE, 0.5),
    (Operation::Add, REPOINT_MASQUERADE, BRIDGE_MASQUERADE, 0.25),
    (Operation::Del, REPOINT, PTP, 0.8),
    (Operation::Del, REPOINT_MASQUERADE, PTP_MASQUERADE, 0.8),
];

/// Limit of ADD on a full node against ADD on an empty one.
const GROWTH: f64 = 1.2;

/// The targets whose contestants were all measured.
#[must_use]
pub fn judge(latencies: &[Latency], growth: &[Growth]) -> Vec<Target> {
    let against = AGAINST.into_iter().filter_map(|(operation, ours, reference, limit)| {
        let mine = latency::find(latencies, ours, operation)?;
        let theirs = latency::find(latencies, reference, operation)?;
        let what = format!("{} of {ours} against {reference}", operation.name());
        Some(Target::new(what, ratio(mine.p50, theirs.p50), limit))
    });
    let grown = growth.iter().filter(|growth| growth.contestant == REPOINT);
    against.chain(grown.flat_map(grown_targets)).collect()
}

fn grown_targets(growth: &Growth) -> [Target; 2] {
    let in_a_row = ratio(growth.last_adds.p50, growth.first_adds.p50);
    let alternating = &growth.alternating;
    let by_turns = ratio(alternating.last_add.p50, alternating.first_add.p50);
    [
        Target::new(
            format!("the last {EDGE} of {ATTACHMENTS} ADDs in a row against the first {EDGE}"),
            in_a_row,
            GROWTH,
        ),
        Target::new(
            format!("ADD number {ATTACHMENTS} against ADD number 1, by turns"),
            by_turns,
            GROWTH,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::stats::Summary;

    fn add(contestant: &'static str, milliseconds: u64) -> Latency {
        let calls = vec![Duration::from_millis(milliseconds)];
        Latency {
            contestant,
            operation: Operation::Add,
            summary: Summary::of(&calls).unwrap(),
            calls,
        }
    }

    fn judged(latencies: &[Latency]) -> Vec<(String, bool)> {
        let targets = judge(latencies, &[]).into_iter();
        targets.map(|target| (target.what, target.met)).collect()
    }

    #[test]
    fn a_ratio_at_its_limit_is_met_and_one_above_is_not() {
        let latencies = [
            add(REPOINT, 10),
            add(PTP, 20),
            add(REPOINT_MASQUERADE, 10),
            add(BRIDGE_MASQUERADE, 39),
        ];
        let expected = [
            ("ADD of repoint against ptp", true),
            ("ADD of repoint-ipmasq against bridge-ipmasq", false),
        ];
        assert_eq!(judged(&latencies), expected.map(|(what, met)| (what.to_owned(), met)));
    }

    #[test]
    fn nothing_is_promised_of_what_was_not_measured() {
        assert_eq!(judged(&[add(PTP, 20)]), []);
    }
}
