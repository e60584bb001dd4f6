//! Everything that is read at one moment, between two stretches of the run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    database, kernel,
    load::{SLOTS, Took},
    place, process,
    reading::{Group, Reading, float},
};
use crate::{
    Pooled,
    bench::{
        fence::until_namespaces_are_gone,
        stats::{Summary, milliseconds},
    },
    wait,
};

/// How long slots may take to be at rest, and numbers to be what they were.
const PATIENCE: Duration = Duration::from_secs(90);

/// Numbers of things, comparable: afterwards nothing is left.
#[derive(Debug, Clone, PartialEq)]
pub struct Census(Vec<Reading>);

impl Census {
    /// Counts when every slot waits, until two counts agree.
    pub fn take(pooled: &Pooled<'_>, agent: u32) -> Result<Self> {
        until_at_rest(pooled)?;
        let mut last = Self(place::exact(pooled, agent)?);
        wait::until(PATIENCE, "numbers settle", || {
            let now = Self(place::exact(pooled, agent)?);
            let difference = last.difference(&now);
            last = now.clone();
            ensure!(difference.is_empty(), "{difference}");
            Ok(now)
        })
    }

    /// Waits until all numbers are what they were; fails with those that are not.
    pub fn wait_until_restored(&self, pooled: &Pooled<'_>, agent: u32) -> Result<Self> {
        until_at_rest(pooled)?;
        wait::until(PATIENCE, "everything is as before", || {
            let now = Self(place::exact(pooled, agent)?);
            let difference = self.difference(&now);
            ensure!(difference.is_empty(), "{difference}");
            Ok(now)
        })
    }

    /// The numbers that differ in `later`, in words; empty if none does.
    #[must_use]
    pub fn difference(&self, later: &Self) -> String {
        let of = |census: &Self| -> BTreeMap<String, f64> {
            census.0.iter().map(|reading| (reading.name.clone(), reading.value)).collect()
        };
        let (before, after) = (of(self), of(later));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
        let lines = changed
            .map(|name| format!("{name}: {:?}, and {:?} later", before.get(name), after.get(name)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|reading| writeln!(f, "{}: {}", reading.name, reading.value))
    }
}

/// All readings of a moment.
#[derive(Debug)]
pub(super) struct Sample {
    /// Pairs before it that count.
    pub pairs: usize,
    /// What was read.
    pub readings: Vec<Reading>,
    /// KiB of every slab cache.
    pub caches: BTreeMap<String, f64>,
}

impl Sample {
    /// Reads everything, once the numbers are as `before` or the wait is over.
    pub fn take(
        pooled: &Pooled<'_>,
        agent: u32,
        (pairs, took): (usize, &Took),
        before: Option<&Census>,
    ) -> Result<(Self, Census)> {
        let restored = before.map(|before| before.wait_until_restored(pooled, agent));
        let census = match restored {
            Some(Ok(census)) => census,
            Some(Err(error)) => {
                eprintln!("endurance: after {pairs} pairs: {error:#}");
                Census::take(pooled, agent)?
            }
            None => Census::take(pooled, agent)?,
        };
        until_namespaces_are_gone()?;
        let mut readings = census.0.clone();
        readings.extend(process::memory(agent)?);
        readings.push(process::threads(agent)?);
        readings.extend(database::readings(pooled.node().dirs())?);
        readings.push(place::connections()?);
        readings.extend(kernel::readings()?);
        readings.extend(calls(took));
        Ok((Self { pairs, readings, caches: kernel::caches()? }, census))
    }
}

/// Waits until the pool has its warm slots, and no others. It also waits until the kernel has taken down
/// the namespaces of deleted slots.
fn until_at_rest(pooled: &Pooled<'_>) -> Result<()> {
    let begun = Instant::now();
    wait::until(PATIENCE, "every slot waits", || {
        let pool = pooled.pool()?;
        let slots = [pool.warm, pool.total].map(usize::try_from);
        ensure!(slots == [Ok(SLOTS); 2], "{pool:?}, {:?} after the last DEL", begun.elapsed());
        Ok(())
    })?;
    until_namespaces_are_gone()
}

/// Medians of the calls of a stretch, and its pairs a second.
fn calls(took: &Took) -> Vec<Reading> {
    let median = |name: &str, calls: &[Duration]| {
        let time = Summary::of(calls)?.p50;
        let figure = (milliseconds(time), "ms");
        Some(Reading::reported(Group::Calls, name, figure))
    };
    let each = [median("ADD, median", &took.adds), median("DEL, median", &took.dels)];
    let pairs = float(took.dels.len()) / took.wall.as_secs_f64();
    let rate = Reading::reported(Group::Calls, "pairs a second", (pairs, ""));
    each.into_iter().flatten().chain([rate]).collect()
}
