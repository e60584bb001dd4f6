//! Results as SVG.

use std::time::Duration;

use super::{
    burst::{self, Burst, SIZE},
    contestant::{FLOOR, Operation, REPOINT},
    growth::Growth,
    latency::Latency,
    stats::Summary,
};

mod axis;
mod curve;
mod ranges;
pub(crate) mod svg;

use ranges::{Panel, Range};

/// Colours that the colour-blind can distinguish (Okabe and Ito): ours, and the others' in order.
const OURS: &str = "#d55e00";
const OTHERS: [&str; 4] = ["#0072b2", "#56b4e9", "#009e73", "#666666"];

/// Single calls.
#[must_use]
pub fn latency(latencies: &[Latency]) -> String {
    let floor = latencies
        .iter()
        .find(|latency| latency.contestant == FLOOR)
        .map(|latency| (FLOOR, latency.summary.p50));
    let of = |operation| {
        latencies
            .iter()
            .filter(move |latency| latency.operation == operation)
            .map(|latency| (latency.contestant, latency.summary))
    };
    let panels = [panel("ADD", of(Operation::Add)), panel("DEL", of(Operation::Del))];
    ranges::draw("Whole process, one call at a time", &panels, floor)
}

/// Calls at once.
#[must_use]
pub fn burst(bursts: &[Burst]) -> String {
    let of = |operation| {
        bursts
            .iter()
            .filter(move |burst| burst.operation == operation && burst.size == SIZE)
            .map(|burst| (burst.contestant, burst.call))
    };
    let panels = [panel("ADD", of(Operation::Add)), panel("DEL", of(Operation::Del))];
    let floor = burst::find(bursts, FLOOR, Operation::Exec, SIZE);
    let title = format!("Whole process, {SIZE} calls at once");
    ranges::draw(&title, &panels, floor.map(|floor| (FLOOR, floor.call.p50)))
}

/// Nodes that fill.
#[must_use]
pub fn growth(growth: &[Growth]) -> String {
    let names = growth.iter().map(|growth| growth.contestant);
    let curves: Vec<(&str, &str, &[Duration])> = colours(names)
        .zip(growth)
        .map(|((name, colour), growth)| (name, colour, growth.adds.as_slice()))
        .collect();
    curve::draw("ADD by the number of attachments on the node", &curves)
}

fn panel<'a>(title: &'a str, rows: impl Iterator<Item = (&'a str, Summary)>) -> Panel<'a> {
    let (names, summaries): (Vec<&str>, Vec<Summary>) = rows.unzip();
    let rows = colours(names.into_iter())
        .zip(summaries)
        .map(|((name, colour), summary)| Range { name, colour, summary })
        .collect();
    Panel { title, rows }
}

fn colours<'a>(
    names: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = (&'a str, &'static str)> {
    let mut others = OTHERS.into_iter().cycle();
    names.map(move |name| {
        let colour = if name.starts_with(REPOINT) { Some(OURS) } else { others.next() };
        (name, colour.unwrap_or(OURS))
    })
}
