//! Results as Markdown.

use std::{fmt::Write as _, iter, time::Duration};

use super::{
    burst::{BURSTS, Burst, SIZE},
    contestant::{BRIDGE_MASQUERADE, FLOOR, Operation, PTP, PTP_MASQUERADE},
    growth::{ATTACHMENTS, EDGE, Growth},
    latency::{self, Latency},
    machine::Machine,
    report::Report,
    stats::{milliseconds, ratio},
    targets::Target,
};

/// All tables.
#[must_use]
pub fn all(report: &Report) -> String {
    [
        latencies(&report.latencies),
        growth(&report.growth),
        bursts(&report.bursts),
        targets(&report.targets),
    ]
    .join("\n")
}

/// The page of a run: tables, plots, where and how it was measured.
#[must_use]
pub fn page(report: &Report) -> String {
    format!(
        "# What a network costs a container

Written by `cargo xtask bench --save`. Times are in milliseconds, from before a plugin's process is
made until it has ended and its output is closed: what a container runtime waits for. `p50`, `p90`
and `p99` are measured values of nearest rank. All contestants took turns in one run, in random
order, each in a subnet and a container of its own; `floor` is a static C program that does nothing.
All figures are in [results.json](results.json).

{machine}
## One call at a time

{rounds} rounds. Each contestant has one container: where it keeps something for all of them, it may
make that at each ADD and remove it at each DEL. The columns with × say how many times the floor's
p50, or that of a reference plugin's same operation, the contestant's p50 is.

{latencies}
![](latency.svg)

## Up to {ATTACHMENTS} attachments on a node

In a row: a node is filled, one ADD right after the other; p50 of the first and the last {EDGE}. By
turns: ADD and DEL of number 1 on an empty node and of number {ATTACHMENTS} on a full one alternate,
{EDGE} times each.

{growth}
![](growth.svg)

## {SIZE} calls at once

{BURSTS} bursts. `burst` is the time until the last of its calls has ended.

{bursts}
![](burst.svg)

## Targets

Ratios of p50.

{targets}
## Configurations

{configurations}",
        machine = machine(&report.machine),
        rounds = report.rounds,
        latencies = latencies(&report.latencies),
        growth = growth(&report.growth),
        bursts = bursts(&report.bursts),
        targets = targets(&report.targets),
        configurations = configurations(report),
    )
}

fn machine(machine: &Machine) -> String {
    let rows = [
        ["kernel".to_owned(), format!("{}, {} Hz", machine.kernel, machine.hz)],
        ["processor".to_owned(), format!("{}, {} CPUs", machine.processor, machine.cpus)],
        ["memory".to_owned(), format!("{} MiB", machine.memory_mib)],
        ["load average before".to_owned(), machine.load_average.to_string()],
        ["repoint".to_owned(), machine.repoint.to_owned()],
        ["reference plugins".to_owned(), machine.reference_plugins.clone()],
        ["iptables".to_owned(), machine.iptables.clone()],
    ];
    markdown(["", ""], rows)
}

fn latencies(latencies: &[Latency]) -> String {
    let header = [
        "operation",
        "contestant",
        "p50",
        "p90",
        "p99",
        "min",
        "× floor",
        "× ptp",
        "× ptp-ipmasq",
        "× bridge-ipmasq",
    ];
    let operations = [Operation::Exec, Operation::Add, Operation::Del];
    let rows = operations.into_iter().flat_map(|operation| {
        latencies
            .iter()
            .filter(move |latency| latency.operation == operation)
            .map(|latency| latency_row(latencies, latency))
    });
    markdown(header, rows)
}

fn latency_row(all: &[Latency], latency: &Latency) -> [String; 10] {
    let (operation, summary) = (latency.operation, latency.summary);
    let times = |contestant, operation| {
        latency::find(all, contestant, operation)
            .map_or_else(String::new, |other| two_digits(ratio(summary.p50, other.p50)))
    };
    [
        operation.name().to_owned(),
        latency.contestant.to_owned(),
        time(summary.p50),
        time(summary.p90),
        time(summary.p99),
        time(summary.min),
        times(FLOOR, Operation::Exec),
        times(PTP, operation),
        times(PTP_MASQUERADE, operation),
        times(BRIDGE_MASQUERADE, operation),
    ]
}

fn growth(growth: &[Growth]) -> String {
    let header = ["contestant", "measured", "number 1", "number 1000", "ratio"];
    let rows = growth.iter().flat_map(|growth| {
        let turns = &growth.alternating;
        [
            ("ADD, in a row", growth.first_adds, growth.last_adds),
            ("ADD, by turns", turns.first_add, turns.last_add),
            ("DEL, by turns", turns.first_del, turns.last_del),
        ]
        .map(|(measured, first, last)| {
            [
                growth.contestant.to_owned(),
                measured.to_owned(),
                time(first.p50),
                time(last.p50),
                two_digits(ratio(last.p50, first.p50)),
            ]
        })
    });
    markdown(header, rows)
}

fn bursts(bursts: &[Burst]) -> String {
    let header = ["operation", "contestant", "burst p50", "burst min", "call p50", "call p99"];
    let rows = [Operation::Add, Operation::Del].into_iter().flat_map(|operation| {
        bursts.iter().filter(move |burst| burst.operation == operation).map(|burst| {
            [
                burst.operation.name().to_owned(),
                burst.contestant.to_owned(),
                time(burst.wall.p50),
                time(burst.wall.min),
                time(burst.call.p50),
                time(burst.call.p99),
            ]
        })
    });
    markdown(header, rows)
}

fn targets(targets: &[Target]) -> String {
    if targets.is_empty() {
        return "None: repoint and the plugins it is held against were not both measured.\n"
            .to_owned();
    }
    let rows = targets.iter().map(|target| {
        [
            target.what.clone(),
            two_digits(target.at_most),
            two_digits(target.measured),
            if target.met { "met" } else { "not met" }.to_owned(),
        ]
    });
    markdown(["target", "at most", "measured", ""], rows)
}

fn configurations(report: &Report) -> String {
    report.contestants.iter().fold(String::new(), |mut text, (name, configuration)| {
        let _ = writeln!(text, "`{name}`:\n```json\n{configuration:#}\n```");
        text
    })
}

fn time(duration: Duration) -> String {
    two_digits(milliseconds(duration))
}

fn two_digits(number: f64) -> String {
    format!("{number:.2}")
}

/// A table whose columns line up in a terminal, too. Columns of numbers are flush right.
fn markdown<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = iter::once(header.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3)
    });
    let numeric: [bool; N] = std::array::from_fn(|column| {
        rows.len() > 1 && rows[1..].iter().all(|row| is_number(&row[column]))
    });
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for column in 0..N {
            let (cell, width) = (&row[column], widths[column]);
            let _ = if numeric[column] {
                write!(text, "| {cell:>width$} ")
            } else {
                write!(text, "| {cell:<width$} ")
            };
        }
        text.push_str("|\n");
        if number == 0 {
            text.push_str(&rule(&widths, &numeric));
        }
    }
    text
}

fn is_number(cell: &str) -> bool {
    cell.is_empty() || cell.parse::<f64>().is_ok()
}

/// The line below a header.
fn rule(widths: &[usize], numeric: &[bool]) -> String {
    let cells = widths.iter().zip(numeric).map(|(width, numeric)| {
        let (dashes, end) = ("-".repeat(width - 1), if *numeric { ":" } else { "-" });
        format!("| {dashes}{end} ")
    });
    cells.collect::<String>() + "|\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_are_flush_right() {
        let rows = [["a", "1.50"], ["long", ""], ["b", "10.25"]];
        let text = markdown(["name", "p50"], rows.map(|row| row.map(str::to_owned)));
        let expected = "| name |   p50 |\n| ---- | ----: |\n| a    |  1.50 |\n\
                        | long |       |\n| b    | 10.25 |\n";
        assert_eq!(text, expected, "\n{text}");
    }
}
