//! Sweeping: what is stale in the database, in the kernel or in the maps is found by comparing the
//! three, and repaired.
//!
//! [`observe()`] looks at a node once, [`compare()`] says what is not as it should be, and [`Sweeper`] has
//! it repaired when it was seen twice. Nothing of a healthy node is ever a finding; what is not
//! ours is reported and never touched.

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

/// How long until what was seen is looked for again: longer than any step of an ADD or DEL between a
/// record and what it is about, if nothing holds it up.
const MOMENT: Duration = Duration::from_millis(500);
/// How often a sweep looks, at most: what was repaired may bring other things to light.
const LOOKS: usize = 6;
/// How long a sweep within a verb waits for others.
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
    /// The longest time that nobody could write to the database for that look.
    pub locked: Duration,
    /// How long all of it took.
    pub took: Duration,
}

impl Report {
    /// Forgets what the look before reported and did not repair: the next one reports it again.
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
        // What needs no repair any more belonged to a process that was delayed.
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
    /// The only network whose things are repaired; none: all.
    network: Option<NetworkName>,
    tracker: FindingTracker,
    /// How long others that sweep are waited for.
    turn: Duration,
}

impl Sweeper {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        let tracker = FindingTracker::default();
        Self { patience, network: None, tracker, turn: lock::LOCK_TIMEOUT }
    }

    /// One that sweeps one network only, and does not wait for long for others.
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

    /// Looks at the node, twice where something is suspect, and repairs what is stale. What fails
    /// is reported, and keeps nothing else from being done.
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
                repairs.prune(&seen.records)?;
                lost::spare_addresses(&seen, &node.store, self.patience.abandoned)?;
                (report.looked, report.locked) = (look.took, look.locked);
            }
            let outcomes = repairs.repair_due(&look.due);
            // What is gone by itself may have hidden something, as what was repaired may.
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
            // What was repaired may bring other things to light. On a busy node there is always
            // something that was seen once: it is the next sweep's.
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

    /// Makes out what is to be done about what was seen, and remembers it.
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

/// What was made out of an observation.
struct Look {
    due: Vec<Finding>,
    rest: Vec<(Finding, RepairOutcome)>,
    /// Whether something was seen that has to be seen again.
    is_unsure: bool,
    took: Duration,
    locked: Duration,
}
