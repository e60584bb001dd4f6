//! The page of a run.

use std::fmt::Write as _;

use super::{
    SWEEPING,
    load::{FUNCTIONS, HELD, NOBODYS, SLOTS, TALKATIVE, TENANTS, THREADS},
    reading::Group,
    report::Report,
    table,
};
use crate::bench::{stats::three_digits, table as bench_table};

/// The page, in Markdown.
pub(super) fn page(report: &Report) -> String {
    let mut page = opening(report) + &calls(report) + &rule();
    for group in Group::ALL {
        let (title, text) = about(group);
        let (name, table) = (group.name(), table::of(report, group));
        let _ = write!(page, "\n## {title}\n\n{text}\n\n{table}\n![]({name}.svg)\n");
    }
    let _ = write!(page, "\n## Slab caches\n\n{CACHES}\n\n{}", table::caches(report));
    page
}

fn opening(report: &Report) -> String {
    let (pairs, machine) = (report.pairs, bench_table::machine(&report.machine));
    let sweeping = SWEEPING.as_secs();
    let nobodys = 100 / NOBODYS;
    format!(
        "# What grows while containers come and go

Written by `cargo xtask endure --save`. {pairs} pairs of ADD and DEL on a node with a pool of {SLOTS}
slots and an agent that sweeps every {sweeping} s. {THREADS} threads start containers, each in a namespace
of its own, and keep {HELD} of them at a time. {TENANTS} tenants have {FUNCTIONS} functions each; {nobodys} %
of the containers are nobody's in particular. Slots go to their tenant only (scope `tenant`), wait for
2 s, one for a function, and are deleted and built anew after that. One container in {TALKATIVE} exchanges
TCP and UDP with another, and TCP with the outside. A template is stored anew in each stretch.
All figures are in [results.json](results.json).

{machine}"
    )
}

fn calls(report: &Report) -> String {
    let Report { pairs, rate, outcomes, add, del, .. } = report;
    let outcomes: Vec<_> =
        outcomes.iter().map(|(outcome, count)| format!("{count} `{outcome}`")).collect();
    let (hits, outcomes) = (report.hits(), outcomes.join(", "));
    let [add_p50, add_p99, del_p50, del_p99] =
        [add.p50, add.p99, del.p50, del.p99].map(three_digits);
    format!(
        "
{pairs} pairs, {rate:.0} a second while they ran, namespaces and traffic included; {hits:.2} % hits:
{outcomes}. ADD took {add_p50} (p50) and {add_p99} (p99), DEL {del_p50} and {del_p99}.
"
    )
}

fn rule() -> String {
    "
## What is flat

Between two stretches of the run nobody has a slot; everything is read then, once every slot waits
again. Before the first reading is a stretch that does not count. *Slope* is the median of the slopes
between any two readings of the second half, *drift* by what part of the level that line rises from the
beginning of the second half to its end. A series is flat if its drift is not above its bound, and one
that must be `the same` if all of its readings are. Else the run fails.
"
    .to_owned()
}

/// Heading and words of a group.
fn about(group: Group) -> (&'static str, &'static str) {
    match group {
        Group::Agent => {
            ("The agent", "Memory as `/proc/PID/smaps_rollup` has it: `heap` is what is anonymous.")
        }
        Group::Database => (
            "The databases",
            "Pages of 4 KiB. There are no reader slots: readers and writers keep apart by a lock on the \
             data file.",
        ),
        Group::Maps => {
            ("The maps", "Entries as `bpftool map dump` has them, memory as `bpftool map show`.")
        }
        Group::Node => (
            "The node",
            "Numbers of what `ip`, `tc` and `nft` list, of mounts, of what is kept in the place of slots' \
             namespaces and in `runDir`. Tracked connections are the host's own conntrack, which the \
             masquerade rule needs; the kernel ends them in time.",
        ),
        Group::Kernel => (
            "The kernel",
            "Of the whole machine. Directory entries and inodes that the kernel keeps until memory is \
             asked for are dropped before.",
        ),
        Group::Calls => ("The calls", "Of each stretch."),
    }
}

const CACHES: &str =
    "KiB of objects in use, of those that grew most from the middle of the run to its end.";
