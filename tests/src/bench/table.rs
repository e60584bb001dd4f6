//! Results as tables.

use std::time::Duration;

use super::{
    burst::{self, Burst},
    compared::{Compared, median},
    contestant::{BRIDGE_MASQUERADE, FLOOR, Operation, PTP, PTP_MASQUERADE},
    density::{Calls, Density, MANY},
    growth::Growth,
    isolation::{Figures, Isolation, Series},
    latency::{self, Latency},
    library::LibraryCalls,
    machine::Machine,
    renewal::{Load, Renewal},
    replication::Replication,
    report::Report,
    round_trips::{self, RoundTrips},
    stats::{Summary, milliseconds, ratio},
    sweeping::{Beside, Sweeping},
    targets::Target,
};

pub(crate) mod markdown;

use markdown::markdown;

/// All tables.
#[must_use]
pub fn all(report: &Report) -> String {
    let mut tables = vec![latencies(&report.latencies)];
    tables.extend(report.library.as_ref().map(library));
    tables.push(bursts(&report.bursts));
    tables.extend(report.density.iter().flat_map(|of| {
        [slots(of), density(of), sweeping(&of.sweeping), beside(&of.sweeping.beside)]
    }));
    tables.extend(report.renewal.as_ref().map(renewal));
    tables.push(replication(&report.replication));
    tables.extend(report.round_trips.as_ref().map(round_trips));
    tables.extend(report.isolation.as_ref().map(isolation));
    tables.extend([growth(&report.growth), targets(&report.targets)]);
    tables.join("\n")
}

/// Where it was measured.
pub(crate) fn machine(machine: &Machine) -> String {
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

/// Single calls.
pub(super) fn latencies(latencies: &[Latency]) -> String {
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

/// Nodes that fill.
pub(super) fn growth(growth: &[Growth]) -> String {
    let header = ["contestant", "measured", "number 1", "number 1000", "ratio"];
    let rows = growth.iter().flat_map(|growth| {
        let turns = &growth.alternating;
        [
            ("ADD, in a row", growth.first_adds, growth.last_adds),
            ("ADD, alternating", turns.first_add, turns.last_add),
            ("DEL, alternating", turns.first_del, turns.last_del),
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

/// Calls at once.
pub(super) fn bursts(bursts: &[Burst]) -> String {
    let header = [
        "at once",
        "operation",
        "contestant",
        "burst p50",
        "burst min",
        "call p50",
        "call p99",
        "× floor",
    ];
    markdown(header, bursts.iter().map(|burst| burst_row(bursts, burst)))
}

fn burst_row(all: &[Burst], burst: &Burst) -> [String; 8] {
    let floor = burst::find(all, FLOOR, Operation::Exec, burst.size);
    [
        burst.size.to_string(),
        burst.operation.name().to_owned(),
        burst.contestant.to_owned(),
        time(burst.wall.p50),
        time(burst.wall.min),
        time(burst.call.p50),
        time(burst.call.p99),
        floor.map_or_else(String::new, |floor| two_digits(ratio(burst.wall.p50, floor.wall.p50))),
    ]
}

/// Calls of the library, in microseconds.
pub(super) fn library(library: &LibraryCalls) -> String {
    let rows = [("activate", library.activate), ("park", library.park)];
    let rows = rows.map(|(call, Summary { min, p50, p90, p99, .. })| {
        let [p50, p90, p99, min] =
            [p50, p90, p99, min].map(|time| format!("{:.1}", milliseconds(time) * 1e3));
        [call.to_owned(), p50, p90, p99, min]
    });
    markdown(["call", "p50", "p90", "p99", "min"], rows)
}

/// What slots cost that wait.
pub(super) fn slots(density: &Density) -> String {
    let rows = [
        ("built", density.built_in, "s"),
        ("destroyed", density.destroyed_in, "s"),
        ("destroyed and freed by the kernel", density.freed_in, "s"),
        ("memory of each", density.kibibytes_each(), "KiB"),
        ("kernel's own memory of each", density.kernel_kibibytes_each(), "KiB"),
    ];
    let rows =
        rows.map(|(what, figure, unit)| [what.to_owned(), two_digits(figure), unit.to_owned()]);
    markdown([&format!("{MANY} slots"), "", ""], rows)
}

/// Slots that are renewed.
pub(super) fn renewal(renewal: &Renewal) -> String {
    let header = [
        "starts",
        "hits",
        "ADD p50",
        "ADD p99",
        "DEL p50",
        "DEL p99",
        "CPU ms each",
        "most slots",
        "ready again s",
    ];
    let row = |load: &Load| {
        [
            load.starts.to_string(),
            format!("{} ({} %)", load.hits, two_digits(100.0 - load.misses())),
            time(load.add.p50),
            time(load.add.p99),
            time(load.del.p50),
            time(load.del.p99),
            two_digits(load.cpu_each),
            load.most_held.to_string(),
            two_digits(load.ready_again),
        ]
    };
    markdown(header, [&renewal.steady, &renewal.burst].map(row))
}

/// TCP between two slots.
pub(super) fn round_trips(trips: &RoundTrips) -> String {
    let header = ["way", "round trip p50", "against the first", "95 % interval"];
    let median = |of: fn(&round_trips::Pair) -> f64| median(trips.pairs.iter().map(of));
    let (unused, stack) = (median(|pair| pair.unused), median(|pair| pair.stack));
    let time = |time: f64| format!("{time:.2} µs");
    let Compared { ratio, interval: [low, high] } = trips.compared;
    let rows = [
        ["direct, no translated flow".to_owned(), time(unused), "1".to_owned(), String::new()],
        [
            "direct, flows remembered".to_owned(),
            time(median(|pair| pair.used)),
            format!("{ratio:.3}"),
            format!("{low:.3} to {high:.3}"),
        ],
        ["host stack".to_owned(), time(stack), format!("{:.2}", stack / unused), String::new()],
    ];
    markdown(header, rows)
}

/// TCP between two slots, with isolation, with policies and without.
pub(super) fn isolation(isolation: &Isolation) -> String {
    let header = [
        "",
        "without",
        "with isolation",
        "against without",
        "95 % interval",
        "with policies",
        "against without",
        "95 % interval",
        "host stack, nftables",
        "against without",
    ];
    let row = |what: &str, series: &Series| {
        let of = |of: fn(&Figures) -> f64| median(series.figures.iter().map(of));
        let (open, isolated, rules) = (of(|it| it.open), of(|it| it.isolated), of(|it| it.rules));
        let time = |time: f64| format!("{time:.1} µs");
        let policed = of(|it| it.policed);
        let against = |compared: &Compared| format!("{:.3}", compared.ratio);
        let interval =
            |Compared { interval: [low, high], .. }: &Compared| format!("{low:.3} to {high:.3}");
        [
            what.to_owned(),
            time(open),
            time(isolated),
            against(&series.compared),
            interval(&series.compared),
            time(policed),
            against(&series.policed),
            interval(&series.policed),
            time(rules),
            format!("{:.2}", rules / open),
        ]
    };
    let Isolation { round_trips, connections, streams } = isolation;
    let rows = [
        row("round trip", round_trips),
        row("connection with a round trip", connections),
        row("stream of 32 MiB", streams),
    ];
    markdown(header, rows)
}

/// Instances of a template.
pub(super) fn replication(replication: &[Replication]) -> String {
    let header = ["instances", "call p50", "call min", "each", "first answer p50"];
    let rows = replication.iter().map(|made| {
        [
            made.size.to_string(),
            time(made.call.p50),
            time(made.call.min),
            two_digits(made.each()),
            time(made.first_answer.p50),
        ]
    });
    markdown(header, rows)
}

/// Calls with few and with many of them.
pub(super) fn density(density: &Density) -> String {
    let header = [
        "slots",
        "mounts",
        "EXEC p50",
        "ADD p50",
        "ADD p99",
        "ADD × floor",
        "DEL p50",
        "DEL × floor",
    ];
    markdown(header, [&density.few, &density.many].map(density_row))
}

fn density_row(calls: &Calls) -> [String; 8] {
    let Calls { slots, mounts, floor, add, del } = calls;
    [
        slots.to_string(),
        mounts.to_string(),
        time(floor.p50),
        time(add.p50),
        time(add.p99),
        two_digits(ratio(add.p50, floor.p50)),
        time(del.p50),
        two_digits(ratio(del.p50, floor.p50)),
    ]
}

/// Sweeps of healthy slots, and one that forgets them.
pub(super) fn sweeping(sweeping: &Sweeping) -> String {
    let longest = |summary: &Summary, longest| {
        let Summary { min, p50, p90, .. } = *summary;
        [p50, p90, longest, min].map(time)
    };
    let Sweeping { sweep, cpu, locked, after_reboot, .. } = sweeping;
    // Of fewer than a hundred the 99th percentile is the longest.
    let rows = [
        ("whole process", longest(sweep, sweeping.longest)),
        ("its time on a CPU", longest(cpu, cpu.p99)),
        ("database held", longest(locked, sweeping.longest_locked)),
        ("after a reboot", longest(after_reboot, after_reboot.p99)),
    ];
    let rows =
        rows.map(|(what, [p50, p90, longest, min])| [what.to_owned(), p50, p90, longest, min]);
    markdown(["`repoint sweep`", "p50", "p90", "max", "min"], rows)
}

/// ADDs beside sweeps.
pub(super) fn beside(beside: &Beside) -> String {
    let Beside { alone, ordinary, without_end, .. } = beside;
    let cases = [("none", alone), ("the agent's", ordinary), ("one after the other", without_end)];
    let rows = cases.map(|(sweeps, calls)| {
        let [median, p99] = calls.against(alone).map(two_digits);
        let times = [calls.floor.p50, calls.floor.p99, calls.add.p50, calls.add.p99].map(time);
        let [floor, floor_p99, add, add_p99] = times;
        let count = calls.add.count.to_string();
        [sweeps.to_owned(), count, floor, floor_p99, add, add_p99, median, p99]
    });
    let header =
        ["sweeps beside", "ADDs", "EXEC p50", "EXEC p99", "ADD p50", "ADD p99", "× p50", "× p99"];
    markdown(header, rows)
}

/// What is promised, and whether it is kept.
pub(super) fn targets(targets: &[Target]) -> String {
    if targets.is_empty() {
        return "None: repoint and the plugins it is held against were not both measured.\n"
            .to_owned();
    }
    let rows = targets.iter().map(|target| {
        [
            target.what.clone(),
            figure(target.at_most),
            figure(target.measured),
            target.unit.to_owned(),
            if target.met { "met" } else { "not met" }.to_owned(),
        ]
    });
    markdown(["target", "at most", "measured", "", ""], rows)
}

fn time(duration: Duration) -> String {
    two_digits(milliseconds(duration))
}

/// With a third digit where two would hide what decides.
fn figure(number: f64) -> String {
    if number > 0.0 && number < 0.1 { format!("{number:.3}") } else { two_digits(number) }
}

fn two_digits(number: f64) -> String {
    format!("{number:.2}")
}
