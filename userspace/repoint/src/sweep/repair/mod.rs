//! Repairs findings by remedy, many together. Each is checked again before its repair. A slot that
//! was claimed meanwhile is left alone.

mod again;
mod maps;
mod plane;
mod records;
mod slots;

use std::{path::Path, time::Duration};

use super::{
    finding::{Finding, Remedy},
    observe::Observation,
};
use crate::{
    failpoint,
    lock::Lock,
    node::{Node, NodeError, now},
    store::{Access, Slot, StoreError, Transaction},
    sweep::Version,
    threads,
};

/// Findings repaired in one transaction. Other writers wait for a few ms at most.
const BATCH: usize = 64;

/// What became of a finding.
#[derive(Debug)]
pub enum RepairOutcome {
    /// It was repaired, as described.
    Done(String),
    /// It no longer held.
    Gone,
    /// It could not be repaired.
    Failed(NodeError),
    /// It would have been repaired.
    Due,
    /// It waits for its time to come, or for what failed to be tried again.
    Waits,
    /// It is reported, and left.
    Left,
}

/// What became of each finding of some.
type Outcomes = Vec<(Finding, RepairOutcome)>;

/// The right to repair a node: one sweep has it at a time.
pub(super) struct Repairs<'a> {
    node: &'a Node,
    _lock: Lock,
}

impl<'a> Repairs<'a> {
    /// Waits for another sweep to end, for up to `patience`.
    pub(super) fn begin(node: &'a Node, patience: Duration) -> Result<Self, NodeError> {
        let lock = Lock::exclusive(&node.directories.run.join("sweep.lock"), patience);
        let lock = lock.map_err(NodeError::Sweeping)?;
        records::record_boot(node)?;
        Ok(Self { node, _lock: lock })
    }

    /// Forgets template texts and fingerprints that no slot and no pool names any more, and identities
    /// that no slot has had for an hour. A healthy node has some, too, where templates are replaced.
    pub(super) fn prune(&self, seen: &Observation) -> Result<(), NodeError> {
        let Observation { records: seen, pins, .. } = seen;
        // A record that cannot be read may name any of them.
        if !seen.unreadable.is_empty() {
            return Ok(());
        }
        let store = &self.node.store;
        if store.read(|transaction| transaction.has_unnamed(&seen.slots, &seen.pools, now()))? {
            store.write(|transaction| transaction.prune(now()))?;
        }
        // Maps whose pins are missing are replaced first.
        if pins.is_whole() { self.node.prune_unused_policies() } else { Ok(()) }
    }

    /// Repairs findings, in the order in which they depend on each other. The repair has a thread
    /// of its own, because it enters and leaves namespaces.
    pub(super) fn repair_due(&self, due: &[Finding]) -> Outcomes {
        if due.is_empty() {
            return Vec::new();
        }
        let node = self.node;
        threads::run(|| repair_due(node, due.to_vec())).unwrap_or_else(|error| failed(due, error))
    }
}

/// A step of the repair.
struct Step {
    /// Name of its failpoints, before and after.
    before: &'static str,
    after: &'static str,
    /// What it repairs.
    handles: fn(&Remedy) -> bool,
    repair_due: fn(&Node, Vec<Finding>) -> Outcomes,
}

/// Every step, in their order.
const STEPS: [Step; 12] = [
    Step {
        before: "sweep:boot",
        after: "sweep:boot-done",
        handles: |remedy| matches!(remedy, Remedy::ForgetBoot),
        repair_due: |node, due| each(due, |_| records::forget_boot(node)),
    },
    Step {
        before: "sweep:pins",
        after: "sweep:pins-done",
        handles: |remedy| matches!(remedy, Remedy::Reload | Remedy::ClearPins),
        repair_due: |node, due| each(due, |remedy| plane::pins(node, remedy)),
    },
    Step {
        before: "sweep:policies",
        after: "sweep:policies-done",
        handles: |remedy| matches!(remedy, Remedy::RestorePolicies),
        repair_due: |node, due| each(due, |remedy| plane::policies(node, remedy)),
    },
    Step {
        before: "sweep:records",
        after: "sweep:records-done",
        handles: records::is_of_records,
        repair_due: records::repair_due,
    },
    Step {
        before: "sweep:entries",
        after: "sweep:entries-done",
        handles: maps::is_of_maps,
        repair_due: maps::repair_due,
    },
    Step {
        before: "sweep:filters",
        after: "sweep:filters-done",
        handles: |remedy| matches!(remedy, Remedy::Attach(_)),
        repair_due: plane::attach,
    },
    Step {
        before: "sweep:slots",
        after: "sweep:slots-done",
        handles: slots::is_of_slots,
        repair_due: slots::repair_due,
    },
    Step {
        before: "sweep:links",
        after: "sweep:links-done",
        handles: |remedy| matches!(remedy, Remedy::RemoveLink(..)),
        repair_due: |node, due| slots::remove_links(node, &due),
    },
    Step {
        before: "sweep:namespaces",
        after: "sweep:namespaces-done",
        handles: |remedy| matches!(remedy, Remedy::ReleaseNamespace(_)),
        repair_due: slots::release_namespaces,
    },
    Step {
        before: "sweep:masquerade",
        after: "sweep:masquerade-done",
        handles: |remedy| {
            matches!(remedy, Remedy::AddRule | Remedy::RemoveRule | Remedy::SwitchOn(_))
        },
        repair_due: |node, due| each(due, |remedy| plane::node(node, remedy)),
    },
    Step {
        before: "sweep:halves",
        after: "sweep:halves-done",
        handles: |remedy| matches!(remedy, Remedy::RestoreHalf(_)),
        repair_due: |node, due| plane::restore_halves(node, &due),
    },
    Step {
        before: "sweep:files",
        after: "sweep:files-done",
        handles: |remedy| matches!(remedy, Remedy::RemoveFile(_) | Remedy::RemoveSocket),
        repair_due: |node, due| each(due, |remedy| plane::file(node, remedy)),
    },
];

fn repair_due(node: &Node, mut due: Vec<Finding>) -> Outcomes {
    let mut outcomes = Vec::with_capacity(due.len());
    for step in &STEPS {
        let (some, others): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|finding| (step.handles)(&finding.remedy));
        due = others;
        if some.is_empty() {
            continue;
        }
        failpoint::hit(step.before);
        outcomes.extend((step.repair_due)(node, some));
        failpoint::hit(step.after);
    }
    outcomes.extend(due.into_iter().map(|finding| (finding, RepairOutcome::Left)));
    outcomes
}

/// Repairs findings one by one. `work` returns what it did; none if no repair was needed.
fn each(
    due: Vec<Finding>,
    work: impl Fn(&Remedy) -> Result<Option<String>, NodeError>,
) -> Outcomes {
    let reported = |finding: Finding| {
        let outcome = match work(&finding.remedy) {
            Ok(Some(done)) => RepairOutcome::Done(done),
            Ok(None) => RepairOutcome::Gone,
            Err(error) => RepairOutcome::Failed(error),
        };
        failpoint::hit("sweep:one");
        (finding, outcome)
    };
    due.into_iter().map(reported).collect()
}

/// Outcomes of findings whose common repair failed. The first has the error, and the next sweep
/// tries all of them again.
fn failed(due: &[Finding], error: impl Into<NodeError>) -> Outcomes {
    let mut error = Some(error.into());
    let mut outcome = || error.take().map_or(RepairOutcome::Waits, RepairOutcome::Failed);
    due.iter().map(|finding| (finding.clone(), outcome())).collect()
}

/// What was done, in the words of the remedy.
fn done(remedy: &Remedy) -> RepairOutcome {
    RepairOutcome::Done(remedy.words().to_owned())
}

/// Removes a file; none if it is already gone.
fn remove(path: &Path) -> Result<Option<String>, NodeError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(Some("removed the file".to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(NodeError::File { what: "remove", path: path.to_owned(), source }),
    }
}

/// The slot, if it is as it was seen.
fn unchanged<T: Access>(
    transaction: &Transaction<'_, T>,
    seen: &Version,
) -> Result<Option<Slot>, StoreError> {
    let same = |slot: &Slot| slot.state() == seen.state && slot.changed == seen.changed;
    Ok(transaction.slot(seen.slot)?.filter(same))
}
