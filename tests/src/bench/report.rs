//! All that was measured, and the files that report it.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use super::{
    burst::Burst, density::Density, growth::Growth, isolation::Isolation, latency::Latency,
    library::LibraryCalls, machine::Machine, page, plot, renewal::Renewal,
    replication::Replication, round_trips::RoundTrips, targets::Target, trace::Trace,
};

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Rounds of single calls.
    pub rounds: usize,
    /// Seed of the order.
    pub seed: u64,
    /// The project's promises.
    pub targets: Vec<Target>,
    /// Configuration of each plugin, by the contestant's name.
    pub contestants: BTreeMap<&'static str, Value>,
    /// Single calls.
    pub latencies: Vec<Latency>,
    /// Calls of the library.
    pub library: Option<LibraryCalls>,
    /// System calls of one ADD.
    pub trace: Option<Trace>,
    /// Calls at once.
    pub bursts: Vec<Burst>,
    /// Slots that wait.
    pub density: Option<Density>,
    /// Slots that are renewed.
    pub renewal: Option<Renewal>,
    /// Instances of a template.
    pub replication: Vec<Replication>,
    /// TCP between two slots.
    pub round_trips: Option<RoundTrips>,
    /// What isolation costs packets.
    pub isolation: Option<Isolation>,
    /// Nodes that fill.
    pub growth: Vec<Growth>,
}

impl Report {
    /// Writes `README.md`, `results.json` and the plots into a folder, which is made if need be.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let json = serde_json::to_string(self).context("encode the results")?;
        let files = [
            ("README.md", page::page(self)),
            ("results.json", json + "\n"),
            ("latency.svg", plot::latency(&self.latencies)),
            ("growth.svg", plot::growth(&self.growth)),
            ("burst.svg", plot::burst(&self.bursts)),
        ];
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}
