//! All that was read, and the files that report it.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    CACHES, Run, page, plot,
    reading::{Group, float},
    series::{self, Cache, Series},
};
use crate::bench::{machine::Machine, stats::Summary};

/// One run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// ADDs with their DELs.
    pub pairs: usize,
    /// Pairs a second while containers came and went.
    pub rate: f64,
    /// ADDs by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Every ADD.
    pub add: Summary,
    /// Every DEL.
    pub del: Summary,
    /// What was read.
    pub series: Vec<Series>,
    /// Slab caches that grew most.
    pub caches: Vec<Cache>,
}

impl Report {
    pub(super) fn new(machine: Machine, run: Run) -> Self {
        let pairs = run.samples.last().map_or(0, |sample| sample.pairs);
        Self {
            machine,
            pairs,
            rate: float(pairs) / run.busy.as_secs_f64(),
            outcomes: run.outcomes,
            add: run.adds,
            del: run.dels,
            series: series::series(&run.samples),
            caches: series::grown(&run.samples, CACHES),
        }
    }

    /// ADDs for which nothing had to be built, percent.
    #[must_use]
    pub fn hits(&self) -> f64 {
        let count = |outcome: &str| self.outcomes.get(outcome).copied().unwrap_or(0);
        let all: u64 = self.outcomes.values().sum();
        percent(count("warm") + count("reused"), all)
    }

    /// What is not flat.
    pub fn risen(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|series| !series.flat)
    }

    /// The series of a group.
    pub fn of(&self, group: Group) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(move |series| series.group == group)
    }

    /// Writes `README.md`, `results.json` and the plots into a folder, which is made if need be.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let json = serde_json::to_string(self).context("encode the results")?;
        let mut files = vec![
            ("README.md".to_owned(), page::page(self)),
            ("results.json".to_owned(), json + "\n"),
        ];
        let plots = Group::ALL
            .map(|group| (format!("{}.svg", group.name()), plot::draw(group, self.of(group))));
        files.extend(plots);
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "ADDs, not 2^52")]
fn percent(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64 * 100.0
}
