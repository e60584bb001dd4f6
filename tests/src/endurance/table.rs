//! Series as tables.

use super::{
    reading::{Bound, Group},
    report::Report,
    series::Series,
};
use crate::bench::table::markdown::markdown;

/// Every series.
#[must_use]
pub fn all(report: &Report) -> String {
    let tables = Group::ALL.map(|group| of(report, group));
    tables.join("\n")
}

/// The series of a group.
pub(super) fn of(report: &Report, group: Group) -> String {
    let header =
        ["series", "start", "end", "unit", "slope per 1,000 pairs", "drift %", "bound", ""];
    markdown(header, report.of(group).map(row))
}

fn row(series: &Series) -> [String; 8] {
    let bound = match series.bound {
        Bound::Exact => "the same".to_owned(),
        Bound::Percent(most) => format!("{most} %"),
        Bound::Reported => String::new(),
    };
    let (drift, verdict) = match series.bound {
        Bound::Reported => (String::new(), ""),
        _ => (format!("{:.2}", series.drift), if series.flat { "flat" } else { "rises" }),
    };
    [
        series.name.clone(),
        number(series.start()),
        number(series.end()),
        series.unit.to_owned(),
        format!("{:.2}", series.slope),
        drift,
        bound,
        verdict.to_owned(),
    ]
}

/// Slab caches that grew.
pub(super) fn caches(report: &Report) -> String {
    let rows = report.caches.iter().map(|cache| {
        let [start, middle, end] = cache.kibibytes.map(number);
        [cache.name.clone(), start, middle, end, number(cache.growth())]
    });
    markdown(["cache", "start", "middle", "end", "second half"], rows)
}

/// Whole, where it is.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
