//! All that was simulated, and the files that report it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use repoint::model::Scope;

use super::{
    Scenario,
    measure::Measured,
    page, plot, scenarios,
    trace::{self, Trace},
};

/// Every scenario, and what it showed.
#[derive(Debug, Clone)]
pub struct Report {
    /// In the order of the tables.
    pub runs: Vec<(Scenario, Measured)>,
}

impl Report {
    /// Runs every scenario; traces without an end of their own last so long.
    #[must_use]
    pub fn run(length: Duration) -> Self {
        let run = |scenario: Scenario| {
            let measured = scenario.run();
            (scenario, measured)
        };
        Self { runs: scenarios(length).into_iter().map(run).collect() }
    }

    /// What a trace showed with a scope.
    #[must_use]
    pub fn find(&self, name: &str, scope: Scope) -> Option<&Measured> {
        let wanted = |(scenario, _): &&(Scenario, Measured)| {
            scenario.trace.name == name && scenario.policy.scope == scope
        };
        self.runs.iter().find(wanted).map(|(_, measured)| measured)
    }

    /// The runs of a trace, by its name.
    pub fn of_trace(&self, name: &str) -> impl Iterator<Item = &(Scenario, Measured)> {
        self.runs.iter().filter(move |(scenario, _)| scenario.trace.name == name)
    }

    /// Each trace once.
    pub fn traces(&self) -> impl Iterator<Item = &Trace> {
        let first = |(scenario, _): &&(Scenario, _)| scenario.policy.scope == Scope::Network;
        self.runs.iter().filter(first).map(|(scenario, _)| &scenario.trace)
    }

    /// Writes `README.md` and a plot of each trace into a folder, which is made if need be.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let mut files = vec![("README.md".to_owned(), page::page(self)?)];
        files.extend(self.traces().map(|trace| {
            (format!("{}.svg", trace.name), plot::draw(trace, self.of_trace(trace.name)))
        }));
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// The run of the burst with a scope.
    pub(super) fn burst(&self, scope: Scope) -> Result<&Measured> {
        self.find(trace::BURST, scope).context("the burst was not simulated")
    }
}
