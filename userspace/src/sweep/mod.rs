//! Sweeping: what is stale in the database, in the kernel or in the maps is found by comparing the
//! three, and put right.
//!
//! [`observe`] looks at a node once, [`compare`] says what is not as it should be, and [`Sweeper`] has
//! it put right when it was seen twice. Nothing of a healthy node is ever a finding; what is not
//! ours is told of and never touched.

mod compare;
mod finding;
mod observe;
mod repair;

use std::{
    thread,
    time::{Duration, Instant},
};

pub use compare::{Patience, compare, unlisted};
pub use finding::{Finding, Key, Kind, Remedy, Ripeness, Suspects, Version, When};
pub use observe::{Entries, Files, Namespaces, NetnsFile, Observation, observe};
pub use repair::Fate;

use crate::{
    conf::Directories,
    lifecycle::{LifecycleError, Node},
    types::NetworkName,
};
use repair::Repairs;

/// How long until what was seen is looked for again: longer than any step of an ADD or DEL between a
/// record and what it is about, if nothing holds it up.
const MOMENT: Duration = Duration::from_millis(500);
/// How often a sweep looks, at most: what was put right may bring other things to light.
const LOOKS: usize = 6;

/// A finding, and what became of it.
#[derive(Debug)]
pub struct Told {
    /// What was found.
    pub finding: Finding,
    /// What became of it.
    pub fate: Fate,
    /// Whether the same was told by the sweep before.
    pub again: bool,
}

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Report {
    /// What was found, in the order in which it was seen to.
    pub told: Vec<Told>,
    /// How long the first look took.
    pub looked: Duration,
    /// How long nobody could write to the database for it.
    pub locked: Duration,
    /// How long all of it took.
    pub took: Duration,
    /// Whether a new data plane was loaded.
    pub reloaded: bool,
}

impl Report {
    /// Whether something could not be put right.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.told.iter().any(|told| matches!(told.fate, Fate::Failed(_)))
    }

    /// Whether there is something that would have been put right.
    #[must_use]
    pub fn has_due(&self) -> bool {
        self.told.iter().any(|told| matches!(told.fate, Fate::Due))
    }
}

/// Sweeps a node, again and again.
#[derive(Debug)]
pub struct Sweeper {
    patience: Patience,
    /// The only network whose things are put right; none: all.
    network: Option<NetworkName>,
    suspects: Suspects,
}

impl Sweeper {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { patience, network: None, suspects: Suspects::default() }
    }

    /// One that sees to the things of one network only.
    #[must_use]
    pub fn of_network(patience: Patience, network: NetworkName) -> Self {
        Self { network: Some(network), ..Self::new(patience) }
    }

    /// Tells what a sweep would do, and does nothing: not even a database is made.
    pub fn dry_run(&mut self, directories: &Directories) -> Result<Report, LifecycleError> {
        let begun = Instant::now();
        let node = Node::open_existing(directories)?;
        let store = node.as_ref().map(|node| &node.store);
        let mut report = Report::default();
        let mut seen = observe(directories, store)?;
        (report.looked, report.locked) = (seen.took, seen.locked);
        let mut findings = self.findings(&seen);
        let known = self.suspects.clone();
        if self.has_waiting(&findings, seen.now) {
            self.remember(&findings, seen.now);
            thread::park_timeout(MOMENT);
            seen = observe(directories, store)?;
            findings = self.findings(&seen);
        }
        for finding in findings {
            let fate = match self.suspects.ripeness(&finding, seen.now) {
                Ripeness::Due => Fate::Due,
                Ripeness::Waits => Fate::Waits,
                Ripeness::Left => Fate::Left,
            };
            let again = known.know(&finding);
            report.told.push(Told { finding, fate, again });
        }
        report.took = begun.elapsed();
        Ok(report)
    }

    /// Looks at the node, twice where something is suspect, and puts right what is stale. What fails
    /// is told, and keeps nothing else from being done.
    pub fn sweep(&mut self, node: &Node) -> Result<Report, LifecycleError> {
        let begun = Instant::now();
        let repairs = Repairs::begin(node)?;
        let known = self.suspects.clone();
        let mut report = Report::default();
        for look in 0..LOOKS {
            let seen = observe(&node.directories, Some(&node.store))?;
            if look == 0 {
                (report.looked, report.locked) = (seen.took, seen.locked);
            }
            let findings = self.findings(&seen);
            let (due, others): (Vec<_>, Vec<_>) = findings
                .iter()
                .cloned()
                .partition(|one| self.suspects.ripeness(one, seen.now) == Ripeness::Due);
            let seen_once = self.has_waiting(&others, seen.now);
            let rest = self.told(others, &known, seen.now);
            self.remember(&findings, seen.now);
            let put_right = repairs.put_right(due);
            report.reloaded |= put_right.iter().any(|(finding, fate)| {
                finding.remedy == Remedy::Reload && matches!(fate, Fate::Done(_))
            });
            let progress = put_right.iter().any(|(_, fate)| matches!(fate, Fate::Done(_)));
            let tell = |(finding, fate)| Told { again: known.know(&finding), finding, fate };
            report.told.retain(|told: &Told| matches!(told.fate, Fate::Done(_)));
            report.told.extend(put_right.into_iter().map(tell));
            report.told.extend(rest);
            if !progress && !seen_once {
                break;
            }
            if look + 1 < LOOKS && seen_once && !progress {
                thread::park_timeout(MOMENT);
            }
        }
        report.took = begun.elapsed();
        Ok(report)
    }

    fn findings(&self, seen: &Observation) -> Vec<Finding> {
        let mut findings = compare(seen, &self.patience);
        if self.network.is_some() {
            findings.retain(|finding| finding.network == self.network);
        }
        findings
    }

    fn remember(&mut self, findings: &[Finding], now: u64) {
        self.suspects = self.suspects.succeed(findings, now);
    }

    /// Whether something waits for being seen again, and for nothing else.
    fn has_waiting(&self, findings: &[Finding], now: u64) -> bool {
        let then = self.suspects.succeed(findings, now);
        let waits =
            |suspects: &Suspects, finding| suspects.ripeness(finding, now) == Ripeness::Waits;
        findings.iter().any(|finding| waits(&self.suspects, finding) && !waits(&then, finding))
    }

    fn told(&self, findings: Vec<Finding>, known: &Suspects, now: u64) -> Vec<Told> {
        let tell = |finding: Finding| {
            let left = self.suspects.ripeness(&finding, now) == Ripeness::Left;
            let fate = if left { Fate::Left } else { Fate::Waits };
            Told { again: known.know(&finding), finding, fate }
        };
        findings.into_iter().map(tell).collect()
    }
}
