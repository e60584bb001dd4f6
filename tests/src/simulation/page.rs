//! The page of the runs: what is simulated, with what, and what it shows.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use repoint::{
    model::Scope,
    pool::{MOST_BUILT, MOST_EVICTED, MOST_SCRUBBED},
};

use super::{
    costs,
    measure::{Measured, Served},
    report::Report,
    table::{percent, table, time},
    trace::{LASTS, ONE_SHOT, QUIET, SEED},
};
use crate::bench::stats::milliseconds;

/// The page, in Markdown.
pub(super) fn page(report: &Report) -> Result<String> {
    let table = table(report);
    let shown = shown(report)?;
    let plots = report.traces().fold(String::new(), |mut text, trace| {
        let _ = writeln!(text, "![]({}.svg)", trace.name);
        text
    });
    Ok(format!("{}{}{}{table}{COLUMNS}{shown}{plots}", opening(), traces(report), node()))
}

fn opening() -> String {
    "# What the policies of pools come to

Written by `cargo xtask simulate --save`. A simulation: the functions that decide in the agent
(`pool/refill.rs`, `pool/retention.rs`) are called as its pool controller calls them, on a virtual clock,
for a node that is a model. It needs no root and no kernel, and each run comes to the same figures.

"
    .to_owned()
}

fn traces(report: &Report) -> String {
    let mut text = "## Traces\n\n| trace | |\n| ----- | --- |\n".to_owned();
    for trace in report.traces() {
        let _ = writeln!(text, "| {} | {} |", trace.name, trace.text);
    }
    let (quiet, lasts) = (QUIET.as_secs(), LASTS.as_secs());
    let _ = write!(
        text,
        "
Traces last an hour, `burst` a quarter more. Starts are independent of each other (a Poisson process),
but for the burst, whose starts come at random moments of its second. Functions run for {lasts} s on
average, exponentially distributed. These are made up, not recorded, from seed {SEED}. The pool is on
record {quiet} s before the first start. It has `warm` 8, `maxSlots` 512 and an idle time of 10
minutes, where the trace does not say otherwise. Each trace is run with the widest scope and with the
narrowest: `network`, in which a used slot goes to anybody after its function, and `function`, in which
only new ones do.

"
    );
    text
}

/// The model.
fn node() -> String {
    let ms = |duration: Duration| format!("{:.2}", milliseconds(duration));
    let [build, each, cold] = [costs::BUILD, costs::BUILD_EACH, costs::BUILD_COLD].map(ms);
    let [scrub, scrub_each] = [costs::SCRUB, costs::SCRUB_EACH].map(ms);
    let [delete_slots, destroy_each] = [costs::DESTROY, costs::DESTROY_EACH].map(ms);
    let [look, rest] = [costs::LOOK, costs::REST].map(ms);
    format!(
        "## The node

The pool controller is one thread, as in the agent. A round: scrub what came back, {MOST_SCRUBBED} slots at most;
look; delete slots, {MOST_EVICTED} slots at most; build, {MOST_BUILT} at most, which are
ready together; then the next round at once if there was more to do or a DEL or a miss notified it, or after
a rest. ADD takes slots in the order of `serve/select.rs`. Where it finds none it builds one, and
takes turns with the pool controller: slots are built one after the other, for either.

| what takes how long | ms | from |
| ------------------- | ---: | ---- |
| a slot, while it is built by two workers | {each} | [bench](../bench/README.md): 4000 slots in 6.66 s |
| a chunk of slots, beside that | {build} | `prepare` of 1 to 64 slots, timed by hand: 8.3 to 70 ms |
| a slot that is built for an ADD, if nobody else builds | {cold} | [bench](../bench/README.md): ADD of `repoint` |
| a scrub, beside its slots | {scrub} | `scrub` of 1 to 30 slots, timed by hand: 28 to 122 ms, on a busy machine 214 ms |
| a slot that is scrubbed | {scrub_each} | likewise |
| deleting slots, beside them | {delete_slots} | `delete_slots` of 1 to 64 slots, timed by hand: 31 to 46 ms |
| a slot that is taken down | {destroy_each} | [bench](../bench/README.md): 4000 slots, by 64, in 6.08 s |
| a round that finds nothing to do | {look} | with 4000 parked slots a look takes 0.1 ms, timed by hand |
| the rest between two rounds | {rest} | the agent |

Left out: processes that go on after DEL, scrubs that fail, other networks' containers, and what starting
functions themselves take from the processors. An ADD that finds the pool full and everything in use
is declined at once here; on a node it waits up to 3 s for a slot that comes back.

## Figures

"
    )
}

const COLUMNS: &str = "
`hits` are starts that found a slot: their own function's (`reused`), or another. `built`: a slot was
built while the start waited, `wait max` the longest time of those. `held` counts all slots, in use or
not. `ready min` are the fewest slots ready for anybody, from the first start on. A `lag` is the time
from when fewer slots are ready than should be until there are enough again. Times are in milliseconds.
Under a steady load starts take slots while others are built, so that there is a lag most of the time,
and no harm in it as long as there are hits.

";

fn shown(report: &Report) -> Result<String> {
    let (widest, narrowest) = (report.burst(Scope::Network)?, report.burst(Scope::Function)?);
    let hits = |measured: &Measured| measured.count(Served::Reused) + measured.count(Served::Warm);
    let tried = report.find(ONE_SHOT, Scope::Function).context("one-shot was not simulated")?;
    Ok(format!(
        "## What it shows

- Where functions come again, almost all get their own slot back (`steady`, `diurnal`, `mixed`): few
  slots have to be ready for anybody, and the refill has little to do.
- `one-shot` with scope `function` is what tries the refill: no slot is used twice, so that one is built
  and one taken down for each of 50 starts a second. {} % are hits.
- **The policy cannot foresee a burst.** Nothing announces 500 starts in a second after an hour of quiet:
  they find the `warm` slots, and what is built or comes back meanwhile: {} of them with scope
  `network`, {} with scope `function`, a hit rate of {} and {} %. The others build their own, {} and
  {} ms at most, and so compete with the pool controller for the same builders. An operator who knows of a burst
  beforehand raises `warm` (`repoint pool set`), or fills the pool (`repoint pool fill`).
- After it the stock is back within {} and {} ms.
- The limits hold: never more slots than `maxSlots`, never more parked for a function or tenant after
  a look than may be. What waits too long is gone by the next round.
- The price is slots: those that functions left are held until they are idle for too long or others need
  their room, up to `maxSlots`. Lower `idleTTL` or the limits of functions and tenants where memory
  counts for more.

",
        percent(tried.hits()),
        hits(widest),
        hits(narrowest),
        percent(widest.hits()),
        percent(narrowest.hits()),
        time(widest.longest_build),
        time(narrowest.longest_build),
        time(widest.longest_lag()),
        time(narrowest.longest_lag()),
    ))
}
