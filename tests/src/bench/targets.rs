//! What the project promises, beside what was measured.

use serde::Serialize;

use super::{
    burst::{self, Burst, CROWD},
    contestant::{
        BRIDGE_MASQUERADE, FLOOR, Operation, PTP, PTP_MASQUERADE, REPOINT, REPOINT_MASQUERADE,
        WARM, WARM_MASQUERADE,
    },
    density::{Density, FEW, MANY},
    growth::{ATTACHMENTS, EDGE, Growth},
    isolation::Isolation,
    latency::{self, Latency},
    library::LibraryCalls,
    renewal::Renewal,
    replication::Replication,
    report::Report,
    round_trips::RoundTrips,
    stats::{milliseconds, ratio},
    sweeping::{self, Beside, Sweeping},
};

/// A figure that shall not be above a limit.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// What is measured, and what it is compared with.
    pub what: String,
    /// In what: `×` for a ratio of two medians.
    pub unit: &'static str,
    /// The figure.
    pub measured: f64,
    /// Its limit.
    pub at_most: f64,
    /// Whether it is kept.
    pub met: bool,
}

impl Target {
    fn new(what: String, unit: &'static str, measured: f64, at_most: f64) -> Self {
        Self { what, unit, measured, at_most, met: measured <= at_most }
    }

    fn ratio(what: String, measured: f64, at_most: f64) -> Self {
        Self::new(what, "×", measured, at_most)
    }
}

/// An operation of a contestant.
type Of = (Operation, &'static str);

/// What any executable costs.
const EXEC: Of = (Operation::Exec, FLOOR);

/// Limits of our median against that of a program that does nothing, or of a reference plugin that
/// does the same.
const AGAINST: [(Of, Of, f64); 8] = [
    ((Operation::Add, WARM), EXEC, 1.5),
    ((Operation::Del, WARM), EXEC, 1.5),
    ((Operation::Add, WARM_MASQUERADE), (Operation::Add, BRIDGE_MASQUERADE), 0.05),
    ((Operation::Add, REPOINT), (Operation::Add, PTP), 0.5),
    ((Operation::Add, REPOINT_MASQUERADE), (Operation::Add, PTP_MASQUERADE), 0.5),
    ((Operation::Add, REPOINT_MASQUERADE), (Operation::Add, BRIDGE_MASQUERADE), 0.25),
    ((Operation::Del, REPOINT), (Operation::Del, PTP), 0.8),
    ((Operation::Del, REPOINT_MASQUERADE), (Operation::Del, PTP_MASQUERADE), 0.8),
];

/// Limit of a crowd of ADDs against as many programs that do nothing.
const CROWDED: f64 = 2.0;
/// Limit of an activation by the library, microseconds.
const ACTIVATION: f64 = 100.0;
/// Limit of building [`MANY`] slots, seconds.
const BUILDING: f64 = 12.0;
/// Limit of destroying them.
const DESTROYING: f64 = 20.0;
/// Limit of a slot's memory, kibibytes.
const MEMORY: f64 = 350.0;
/// Limit of making an instance of a template, one of many in a call, milliseconds.
const INSTANCE: f64 = 2.5;
/// Limit of what a renewal takes of the machine's CPUs, milliseconds.
const RENEWAL: f64 = 2.5;
/// Limit of steady starts that find no slot, percent.
const MISSES: f64 = 1.0;
/// Limit of ADD with [`MANY`] slots against ADD with [`FEW`].
const DENSE: f64 = 1.15;
/// Limit of a sweep of healthy slots, milliseconds.
const SWEEP: f64 = 500.0;
/// Limit of the time that a sweep blocks the database's writers, milliseconds.
const HOLD: f64 = 5.0;
/// Limit of ADD beside sweeps against ADD without.
const BESIDE_SWEEPS: f64 = 1.3;
/// Limit of a round trip between slots with flows remembered against one without.
const ROUND_TRIP: f64 = 1.02;
/// Limit of a round trip and of a stream with isolation, or policies, against without: 0.97 of the rate.
const ISOLATED: f64 = 1.03;
/// The same for connections: 0.9 of the rate.
const ISOLATED_CONNECTION: f64 = 1.11;
/// Limit of ADD on a full node against ADD on an empty one.
const GROWTH: f64 = 1.2;

/// The targets whose contestants were all measured.
#[must_use]
pub fn judge(report: &Report) -> Vec<Target> {
    let crowd = crowded(&report.bursts);
    let library = report.library.iter().map(activated);
    let density = report.density.iter().flat_map(dense);
    let swept = report.density.iter().flat_map(|density| swept(&density.sweeping));
    let renewed = report.renewal.iter().flat_map(renewed);
    let replicated = report.replication.iter().map(replicated);
    let grown = report.growth.iter().filter(|growth| growth.contestant == REPOINT);
    let single = single_calls(&report.latencies);
    single
        .chain(crowd)
        .chain(library)
        .chain(density)
        .chain(swept)
        .chain(renewed)
        .chain(replicated)
        .chain(report.round_trips.iter().map(round_trip))
        .chain(report.isolation.iter().flat_map(isolated))
        .chain(grown.flat_map(grown_targets))
        .collect()
}

fn single_calls(latencies: &[Latency]) -> impl Iterator<Item = Target> {
    AGAINST.into_iter().filter_map(|((operation, ours), (against, other), limit)| {
        let mine = latency::find(latencies, ours, operation)?;
        let theirs = latency::find(latencies, other, against)?;
        let what = format!("{} of {ours} against {other}", operation.name());
        Some(Target::ratio(what, ratio(mine.p50, theirs.p50), limit))
    })
}

fn round_trip(trips: &RoundTrips) -> Target {
    let what = "TCP round trip with flows remembered against without".to_owned();
    Target::ratio(what, trips.compared.ratio, ROUND_TRIP)
}

fn isolated(isolation: &Isolation) -> impl Iterator<Item = Target> {
    let Isolation { round_trips, connections, streams } = isolation;
    let all = [
        ("TCP round trip", round_trips, ISOLATED),
        ("TCP connection", connections, ISOLATED_CONNECTION),
        ("TCP stream", streams, ISOLATED),
    ];
    all.into_iter().flat_map(|(what, series, limit)| {
        [("isolation", &series.compared), ("policies", &series.policed)].map(|(with, compared)| {
            Target::ratio(format!("{what} with {with} against without"), compared.ratio, limit)
        })
    })
}

fn crowded(bursts: &[Burst]) -> Option<Target> {
    let mine = burst::find(bursts, WARM, Operation::Add, CROWD)?;
    let floor = burst::find(bursts, FLOOR, Operation::Exec, CROWD)?;
    let what = format!("{CROWD} ADDs at once of {WARM} against {FLOOR}");
    Some(Target::ratio(what, ratio(mine.wall.p50, floor.wall.p50), CROWDED))
}

fn activated(library: &LibraryCalls) -> Target {
    let microseconds = library.activate.p50.as_secs_f64() * 1e6;
    Target::new("activation by the library".to_owned(), "µs", microseconds, ACTIVATION)
}

fn dense(density: &Density) -> [Target; 5] {
    let Density { few, many, .. } = density;
    let added = many.mounts.saturating_sub(few.mounts);
    [
        Target::new(format!("building {MANY} slots"), "s", density.built_in, BUILDING),
        Target::new("destroying them".to_owned(), "s", density.freed_in, DESTROYING),
        Target::new("memory of each".to_owned(), "KiB", density.kibibytes_each(), MEMORY),
        Target::ratio(
            format!("ADD with {MANY} slots more against ADD with {FEW}"),
            ratio(many.add.p50, few.add.p50),
            DENSE,
        ),
        Target::new("mounts that they add to the node".to_owned(), "", count(added), 0.0),
    ]
}

fn swept(sweeping: &Sweeping) -> [Target; 6] {
    let slots = sweeping.slots;
    let Beside { alone, ordinary, without_end, .. } = &sweeping.beside;
    let beside = |calls: &sweeping::Calls, what: &str| {
        let [median, p99] = calls.against(alone);
        let target = |which, ratio| {
            Target::ratio(format!("{which} of ADD beside {what}"), ratio, BESIDE_SWEEPS)
        };
        [target("p50", median), target("p99", p99)]
    };
    let [ordinary, ordinary_p99] = beside(ordinary, "the agent's sweeps against none");
    let [without_end, without_end_p99] =
        beside(without_end, "one sweep after the other against none");
    [
        Target::new(
            format!("the longest sweep of {slots} healthy slots"),
            "ms",
            milliseconds(sweeping.longest),
            SWEEP,
        ),
        Target::new(
            "its longest hold of the database".to_owned(),
            "ms",
            milliseconds(sweeping.longest_locked),
            HOLD,
        ),
        ordinary,
        ordinary_p99,
        without_end,
        without_end_p99,
    ]
}

fn renewed(renewal: &Renewal) -> [Target; 2] {
    let steady = &renewal.steady;
    [
        Target::new("CPU of a renewal".to_owned(), "ms", steady.cpu_each, RENEWAL),
        Target::new("starts that find no slot".to_owned(), "%", steady.misses(), MISSES),
    ]
}

fn replicated(made: &Replication) -> Target {
    let what = format!("each of {} instances of a template", made.size);
    Target::new(what, "ms", made.each(), INSTANCE)
}

#[expect(clippy::cast_precision_loss, reason = "lines of a table, not 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}

fn grown_targets(growth: &Growth) -> [Target; 2] {
    let in_a_row = ratio(growth.last_adds.p50, growth.first_adds.p50);
    let alternating = &growth.alternating;
    let by_turns = ratio(alternating.last_add.p50, alternating.first_add.p50);
    [
        Target::ratio(
            format!("the last {EDGE} of {ATTACHMENTS} ADDs in a row against the first {EDGE}"),
            in_a_row,
            GROWTH,
        ),
        Target::ratio(
            format!("ADD number {ATTACHMENTS} against ADD number 1, alternating"),
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
        single_calls(latencies).map(|target| (target.what, target.met)).collect()
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
