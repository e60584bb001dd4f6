//! What runs showed, as a table.

use std::time::Duration;

use super::{
    Scenario,
    measure::{Measured, Served, share},
    report::Report,
};
use crate::bench::{stats::milliseconds, table::markdown::markdown};

/// All runs.
#[must_use]
pub fn table(report: &Report) -> String {
    let header = [
        "trace",
        "scope",
        "starts",
        "hits %",
        "reused %",
        "built",
        "declined",
        "wait max",
        "held mean",
        "held max",
        "ready min",
        "lag p50",
        "lag max",
    ];
    markdown(header, report.runs.iter().map(|(scenario, measured)| row(scenario, measured)))
}

fn row(scenario: &Scenario, measured: &Measured) -> [String; 13] {
    let reused = share(measured.count(Served::Reused), measured.starts.len());
    [
        scenario.trace.name.to_owned(),
        scenario.policy.scope.name().to_owned(),
        measured.starts.len().to_string(),
        percent(measured.hits()),
        percent(reused),
        measured.count(Served::Built).to_string(),
        measured.count(Served::Declined).to_string(),
        time(measured.longest_build),
        format!("{:.0}", measured.mean_held),
        measured.most_held.to_string(),
        measured.fewest_ready.to_string(),
        time(measured.median_lag()),
        time(measured.longest_lag()),
    ]
}

/// In hundredths.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2}", share * 100.0)
}

/// In milliseconds.
pub(super) fn time(duration: Duration) -> String {
    format!("{:.0}", milliseconds(duration))
}
