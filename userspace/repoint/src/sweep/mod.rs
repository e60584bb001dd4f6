//! Sweeping: compares the database, the kernel and the maps, and repairs what is stale.
//!
//! [`observe()`] looks at a node once, [`compare()`] returns the findings, and [`Sweeper`] repairs what
//! it has seen twice. A healthy node has no findings. What is not ours is reported and never touched.

mod compare;
mod finding;
mod gc;
mod lost;
mod observe;
mod repair;

use std::{
    thread,
    time::{Duration, Instant},
};

pub use compare::{Patience, compare, unlisted};
pub use finding::{Finding, FindingTracker, Key, Kind, Readiness, Remedy, Version, When};
pub use gc::gc;
pub use observe::{Entries, Files, Namespaces, NetnsFile, Observation, observe};
pub use repair::RepairOutcome;

use crate::{
    conf::Directories,
    lock,
    model::NetworkName,
    node::{Node, NodeError},
};
use repair::Repairs;

/// Wait between two looks of a sweep. It is longer than any step of an ADD or DEL between a record
/// and its kernel object, unless the process is delayed.
const MOMENT: Duration = Duration::from_millis(500);
/// Most looks of a sweep. A repair may bring further findings to light.
const LOOKS: usize = 6;
/// How long a sweep within a verb waits for another sweep.
const TURN: Duration = Duration::from_secs(3);

/// A finding, and what became of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was found.
    pub finding: Finding,
    /// What became of it.
    pub outcome: RepairOutcome,
    /// Whether the sweep before reported the same.
    pub again: bool,
}

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Report {
    /// What was found, in the order in which it was handled.
    pub outcomes: Vec<Outcome>,
    /// How long the first look took.
    pub looked: Duration,
    /// The longest time for which that look blocked writes to the database.
    pub locked: Duration,
    /// How long all of it took.
    pub took: Duration,
}

impl Report {
    /// Drops findings that were not repaired, because the next look reports them again.
    fn keep_done(&mut self) {
        self.outcomes.retain(|outcome| matches!(outcome.outcome, RepairOutcome::Done(_)));
    }

    fn record(
        &mut self,
        outcomes: impl IntoIterator<Item = (Finding, RepairOutcome)>,
        known: &FindingTracker,
    ) {
        let outcome =
            |(finding, outcome)| Outcome { again: known.know(&finding), finding, outcome };
        // A finding that no longer needs a repair belonged to a process that was delayed.
        let outcomes =
            outcomes.into_iter().filter(|(_, outcome)| !matches!(outcome, RepairOutcome::Gone));
        self.outcomes.extend(outcomes.map(outcome));
    }

    /// Whether a new data plane was loaded.
    #[must_use]
    pub fn has_reloaded(&self) -> bool {
        let reloaded = |outcome: &Outcome| {
            outcome.finding.remedy == Remedy::Reload
                && matches!(outcome.outcome, RepairOutcome::Done(_))
        };
        self.outcomes.iter().any(reloaded)
    }

    /// Whether something could not be repaired.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome.outcome, RepairOutcome::Failed(_)))
    }

    /// Whether there is something that would have been repaired.
    #[must_use]
    pub fn has_due(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome.outcome, RepairOutcome::Due))
    }
}

/// Sweeps a node, again and again.
#[derive(Debug)]
pub struct Sweeper {
    patience: Patience,
    /// The only network to sweep; none: all.
    network: Option<NetworkName>,
    tracker: FindingTracker,
    /// How long to wait for another sweep.
    turn: Duration,
}

impl Sweeper {
    /// A sweeper without earlier findings.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        let tracker = FindingTracker::default();
        Self { patience, network: None, tracker, turn: lock::LOCK_TIMEOUT }
    }

    /// A sweeper of one network, which waits only briefly for other sweeps.
    #[must_use]
    pub fn of_network(patience: Patience, network: NetworkName) -> Self {
        Self { network: Some(network), turn: TURN, ..Self::new(patience) }
    }

    /// Reports what a sweep would do, and does nothing: not even a database is made.
    pub fn dry_run(&mut self, directories: &Directories) -> Result<Report, NodeError> {
        let begun = Instant::now();
        let node = Node::look(directories)?;
        node.as_ref().map(Node::ensure_host_netns).transpose()?;
        let store = node.as_ref().map(|node| &node.store);
        let known = self.tracker.clone();
        let mut look = self.look(&observe(directories, store)?);
        let mut report = Report { looked: look.took, locked: look.locked, ..Report::default() };
        if look.is_unsure {
            thread::park_timeout(MOMENT);
            look = self.look(&observe(directories, store)?);
        }
        report.record(look.due.into_iter().map(|finding| (finding, RepairOutcome::Due)), &known);
        report.record(look.rest, &known);
        report.took = begun.elapsed();
        Ok(report)
    }

    /// Looks at the node, twice where it has findings, and repairs what is stale. A repair that
    /// fails is reported, and does not stop the others.
    pub fn sweep(&mut self, node: &Node) -> Result<Report, NodeError> {
        let begun = Instant::now();
        node.ensure_host_netns()?;
        let repairs = Repairs::begin(node, self.turn)?;
        let known = self.tracker.clone();
        let mut report = Report::default();
        let (mut idle, mut lost) = (false, 0);
        for number in 0..LOOKS {
            let seen = observe(&node.directories, Some(&node.store))?;
            let look = self.look(&seen);
            if number == 0 {
                repairs.prune(&seen)?;
                lost::spare_addresses(&seen, &node.store, self.patience.abandoned)?;
                (report.looked, report.locked) = (look.took, look.locked);
            }
            let outcomes = repairs.repair_due(&look.due);
            // A finding that is gone by itself may have hidden another, as may a repaired one.
            let progress = outcomes.iter().any(|(_, outcome)| {
                matches!(outcome, RepairOutcome::Done(_) | RepairOutcome::Gone)
            });
            report.keep_done();
            report.record(outcomes, &known);
            report.record(look.rest, &known);
            // The kernel removes a released namespace's interfaces some time later. Until then they look
            // like those of a lost database, and hide their map entries.
            let vanished = seen.lost.len() < lost;
            lost = seen.lost.len();
            // A repair may bring further findings to light. A busy node always has a finding that
            // was seen once: the next sweep handles it.
            if !progress && (idle && !vanished || !look.is_unsure) {
                break;
            }
            idle = !progress;
            if idle && number + 1 < LOOKS {
                thread::park_timeout(MOMENT);
            }
        }
        report.took = begun.elapsed();
        Ok(report)
    }

    /// Compares an observation, decides on each finding, and remembers the findings.
    fn look(&mut self, seen: &Observation) -> Look {
        let mut findings = compare(seen, &self.patience);
        if self.network.is_some() {
            findings.retain(|finding| finding.network == self.network);
        }
        let tracker = self.tracker.succeed(&findings, seen.now);
        let mut look = Look {
            due: Vec::new(),
            rest: Vec::new(),
            is_unsure: false,
            took: seen.took,
            locked: seen.locked,
        };
        for finding in findings {
            match self.tracker.readiness(&finding, seen.now) {
                Readiness::Due => look.due.push(finding),
                Readiness::Waits => look.rest.push((finding, RepairOutcome::Waits)),
                Readiness::Left => look.rest.push((finding, RepairOutcome::Left)),
                Readiness::Unsure => look.is_unsure = true,
            }
        }
        self.tracker = tracker;
        look
    }
}

/// The decisions on one observation.
struct Look {
    due: Vec<Finding>,
    rest: Vec<(Finding, RepairOutcome)>,
    /// Whether a finding needs another look.
    is_unsure: bool,
    took: Duration,
    locked: Duration,
}
