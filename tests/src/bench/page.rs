//! The page of a run: tables, plots, where and how it was measured.

use std::fmt::Write as _;

use super::{
    burst::{BURSTS, CROWD, SIZE},
    compared::PAIRS,
    density::{self, Density, MANY},
    growth::{ATTACHMENTS, EDGE},
    isolation::{self, Isolation},
    library::{self, LibraryCalls},
    renewal::{self, Renewal},
    replication::{self, Replication},
    report::Report,
    round_trips::{self, RoundTrips},
    sweeping::{self, BLOCKS, PASSES, SWEEPS, Sweeping, UNINTERRUPTED},
    table,
    trace::Trace,
};

/// The page, in Markdown.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut page = opening(report) + &latencies(report);
    page.extend(report.library.as_ref().map(library));
    page.extend(report.trace.as_ref().map(trace));
    page.push_str(&bursts(report));
    page.extend(report.density.as_ref().map(density));
    page.extend(report.density.as_ref().map(|density| sweeping(&density.sweeping)));
    page.extend(report.renewal.as_ref().map(renewal));
    if let Some(first) = report.replication.first() {
        page.push_str(&replication(report, first));
    }
    page.extend(report.round_trips.as_ref().map(round_trips));
    page.extend(report.isolation.as_ref().map(isolation_of_tenants));
    page.push_str(&growth(report));
    page.push_str(&closing(report));
    page
}

fn opening(report: &Report) -> String {
    let machine = table::machine(&report.machine);
    format!(
        "# What a network costs a container

Written by `cargo xtask bench --save`. Times are in milliseconds, from before a plugin's process is
made until it has ended and its output is closed: what a container runtime waits for. `p50`, `p90`
and `p99` are measured values of nearest rank. All contestants took turns in one run, in random
order, each in a subnet and a container of its own; `floor` is a static C program that does nothing.
A call begins when no other thread of the machine has run for 10 ms, so that it does not meet what an earlier
call left to the kernel or to an agent (but for half a second at most), and after a random pause.
All figures are in [results.json](results.json).

`repoint-warm` and `repoint-warm-ipmasq` have a pool: ADD takes a slot that nobody has used, DEL leaves it
to the agent to delete it and build another. `repoint-own` is a function that gets its own slot back
each time: DEL parks it. They have a node of their own, with an agent. The run fails when one of their
ADDs is not served from the pool.

{machine}"
    )
}

fn latencies(report: &Report) -> String {
    let (rounds, latencies) = (report.rounds, table::latencies(&report.latencies));
    format!(
        "
## One call at a time

{rounds} rounds. Each contestant has one container: where it keeps something for all of them, it may
make that at each ADD and remove it at each DEL. The columns with × say how many times the floor's
p50, or that of a reference plugin's same operation, the contestant's p50 is.

{latencies}
![](latency.svg)
"
    )
}

fn library(library: &LibraryCalls) -> String {
    let (rounds, table, name) = (library::ROUNDS, table::library(library), library.contestant);
    format!(
        "
## Without an executable

`Node::activate` and `Node::park` of the library, {rounds} times each, one after the other, with the
pool of `{name}`. In microseconds.

{table}"
    )
}

fn trace(trace: &Trace) -> String {
    format!(
        "
## System calls of one ADD

Of `{}`, counted by `strace -f -C`. The run fails when there is a netlink socket or another process
in it.

```text
{}
```
",
        trace.contestant,
        trace.summary.trim_end()
    )
}

fn bursts(report: &Report) -> String {
    let bursts = table::bursts(&report.bursts);
    format!(
        "
## {SIZE} and {CROWD} calls at once

{BURSTS} bursts. `burst` is the time until the last of its calls has ended; × floor says how many
times that of as many programs that do nothing it is.

{bursts}
![](burst.svg)
"
    )
}

fn density(density: &Density) -> String {
    let (rounds, slots) = (density::ROUNDS, table::slots(density));
    let (calls, configuration) = (table::density(density), &density.configuration);
    format!(
        "
## {MANY} slots that wait

Slots with addresses of both families, built by `repoint pool fill` and destroyed by `repoint pool
drain`, on a node of their own. Memory is what `MemAvailable` is less by; the kernel's own is what
slab, per-CPU memory, vmalloc, kernel stacks and page tables grow by; directory entries and inodes that
it keeps until memory is asked for are dropped before both readings.

{slots}
ADD and DEL of one container, {rounds} times each, with an agent, before and after. They cannot take
turns: the floor, which takes turns with both, says how the machine fared. `mounts` are the lines of
a node's process's `/proc/self/mountinfo`.

{calls}
```json
{configuration:#}
```
"
    )
}

fn sweeping(sweeping: &Sweeping) -> String {
    let (slots, beside) = (sweeping.slots, &sweeping.beside);
    let (table, adds) = (table::sweeping(sweeping), table::beside(beside));
    let (block, pairs, sweeps) = (sweeping::BLOCK, BLOCKS * PASSES, beside.sweeps);
    let seconds = UNINTERRUPTED.as_secs();
    format!(
        "
## Sweeping

{SWEEPS} sweeps of these {slots} slots, all healthy: `database held` is the longest time of a sweep that
nobody could write, as `--json` reports. `after a reboot`: the first sweep of a node that has their
database, of another boot, and nothing of what it records: it forgets them.

{table}
ADDs of one container that are served from the pool, each with a call of the floor before it. `none`
and `one after the other`: {pairs} blocks of {block} ADDs each, alternating, beside an agent that does not
sweep; in the latter `repoint sweep` runs without a pause, {sweeps} times, and so takes one CPU.
`the agent's`: {PASSES} times {seconds} s of ADDs beside an agent as it always is, which sweeps when it
starts and 30 s later. The last two columns are the times of `none`.

{adds}"
    )
}

fn renewal(renewal: &Renewal) -> String {
    let (table, configuration) = (table::renewal(renewal), &renewal.configuration);
    let (seconds, lasts) = (renewal::LENGTH.as_secs(), renewal::LASTS.as_secs());
    let (rate, burst) = (renewal::RATE, renewal::BURST);
    format!(
        "
## Renewal

Containers that name no function: each takes a slot that nobody has used, which is deleted after it, and
another one is built. {rate} starts a second for {seconds} s, each running for {lasts} s; then {burst} at once, from
a pool at rest. `CPU ms each` is what all processors did in that time (`/proc/stat`, kernel threads and
interrupts included), less the calls' and the benchmark's own time and what the machine does at rest,
for each start.

{table}
```json
{configuration:#}
```
"
    )
}

fn round_trips(trips: &RoundTrips) -> String {
    let table = table::round_trips(trips);
    let (pairs, exchanges) = (PAIRS, round_trips::EXCHANGES);
    format!(
        "
## Round trips between slots

One byte each way over one TCP connection between two slots of the node, {exchanges} times in a row. The map
`stack_flows` is not in use, or in use by others, four times each in {pairs} pairs; last, with `\"localPath\": \"stack\"`.

{table}"
    )
}

fn isolation_of_tenants(isolation: &Isolation) -> String {
    let (pairs, tenants, table) = (PAIRS, isolation::TENANTS, table::isolation(isolation));
    let rules = isolation::RULES;
    format!(
        "
## Isolation and policies

TCP between two slots of a tenant, in a network without isolation and in one with `\"isolation\": \"tenant\"`,
four times each in {pairs} pairs; likewise in one whose slots have policies of {rules} rules for each direction; last, with `\"localPath\": \"stack\"` and an nftables chain on the node that keeps
{tenants} tenants apart by a rule each.

{table}"
    )
}

fn replication(report: &Report, first: &Replication) -> String {
    let (rounds, table) = (replication::ROUNDS, table::replication(&report.replication));
    let configuration = &first.configuration;
    format!(
        "
## Instances of a template

`repoint replicate NAME --count N`, {rounds} times each, whole processes: a template of the network's
configuration is made and stored, and N instances of it, with addresses of both families. `first
answer` is what comes right after: `repoint activate` of one of them, as a whole process, and the
answer to the first datagram that is sent to it. The run fails when that gets no answer.

{table}
```json
{configuration:#}
```
"
    )
}

fn growth(report: &Report) -> String {
    let growth = table::growth(&report.growth);
    format!(
        "
## Up to {ATTACHMENTS} attachments on a node

In a row: a node is filled, one ADD right after the other; p50 of the first and the last {EDGE}.
Alternating: ADD and DEL of number 1 on an empty node and of number {ATTACHMENTS} on a full one take
turns, {EDGE} times each.

{growth}
![](growth.svg)
"
    )
}

fn closing(report: &Report) -> String {
    let (targets, configurations) = (table::targets(&report.targets), configurations(report));
    format!(
        "
## Targets

With × of medians.

{targets}
## Configurations

{configurations}"
    )
}

fn configurations(report: &Report) -> String {
    report.contestants.iter().fold(String::new(), |mut text, (name, configuration)| {
        let _ = writeln!(text, "`{name}`:\n```json\n{configuration:#}\n```");
        text
    })
}
