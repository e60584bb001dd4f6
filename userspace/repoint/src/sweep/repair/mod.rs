//! Putting findings right: by kind, many of a kind together, each looked at again before it is
//! touched. What was claimed meanwhile is left alone.

mod again;
mod maps;
mod plane;
mod records;
mod slots;

use std::{path::Path, time::Duration};

use super::finding::{Finding, Remedy};
use crate::{
    failpoint,
    lock::Lock,
    node::{Node, NodeError},
    store::{Access, Slot, StoreError, Survey, Transaction},
    sweep::Version,
    threads,
};

/// Findings that are repaired in one transaction: nobody else waits for longer than a few ms.
const BATCH: usize = 64;

/// What became of a finding.
#[derive(Debug)]
pub enum RepairOutcome {
    /// It was repaired, so.
    Done(String),
    /// It was not so any more.
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
    /// Waits for others that sweep, for as long as `patience`.
    pub(super) fn begin(node: &'a Node, patience: Duration) -> Result<Self, NodeError> {
        let lock = Lock::exclusive(&node.directories.run.join("sweep.lock"), patience);
        let lock = lock.map_err(NodeError::Sweeping)?;
        records::record_boot(node)?;
        Ok(Self { node, _lock: lock })
    }

    /// Forgets texts of templates, and fingerprints, that no slot and no pool names any more: on a healthy
    /// node, too, where templates are replaced.
    pub(super) fn prune(&self, seen: &Survey) -> Result<(), NodeError> {
        // What cannot be read may name any of them.
        if !seen.unreadable.is_empty() {
            return Ok(());
        }
        let store = &self.node.store;
        if store.read(|transaction| transaction.has_unnamed(&seen.slots, &seen.pools))? {
            store.write(|transaction| transaction.prune())?;
        }
        Ok(())
    }

    /// Puts findings right: what others stand on comes first. On a thread of its own, since it goes
    /// in and out of namespaces.
    pub(super) fn put_right(&self, due: &[Finding]) -> Outcomes {
        if due.is_empty() {
            return Vec::new();
        }
        let node = self.node;
        threads::run(|| put_right(node, due.to_vec())).unwrap_or_else(|error| failed(due, error))
    }
}

/// A way of putting findings right.
struct Way {
    /// Name of its failpoints, before and after.
    before: &'static str,
    after: &'static str,
    /// What it repairs.
    puts_right: fn(&Remedy) -> bool,
    put_right: fn(&Node, Vec<Finding>) -> Outcomes,
}

/// Every way, in their order.
const WAYS: [Way; 11] = [
    Way {
        before: "sweep:boot",
        after: "sweep:boot-done",
        puts_right: |remedy| matches!(remedy, Remedy::ForgetBoot),
        put_right: |node, due| each(due, |_| records::forget_boot(node)),
    },
    Way {
        before: "sweep:pins",
        after: "sweep:pins-done",
        puts_right: |remedy| matches!(remedy, Remedy::Reload | Remedy::ClearPins),
        put_right: |node, due| each(due, |remedy| plane::pins(node, remedy)),
    },
    Way {
        before: "sweep:records",
        after: "sweep:records-done",
        puts_right: records::is_of_records,
        put_right: records::put_right,
    },
    Way {
        before: "sweep:entries",
        after: "sweep:entries-done",
        puts_right: maps::is_of_maps,
        put_right: maps::put_right,
    },
    Way {
        before: "sweep:filters",
        after: "sweep:filters-done",
        puts_right: |remedy| matches!(remedy, Remedy::Attach(_)),
        put_right: plane::attach,
    },
    Way {
        before: "sweep:slots",
        after: "sweep:slots-done",
        puts_right: slots::is_of_slots,
        put_right: slots::put_right,
    },
    Way {
        before: "sweep:links",
        after: "sweep:links-done",
        puts_right: |remedy| matches!(remedy, Remedy::RemoveLink(..)),
        put_right: |node, due| slots::remove_links(node, &due),
    },
    Way {
        before: "sweep:namespaces",
        after: "sweep:namespaces-done",
        puts_right: |remedy| matches!(remedy, Remedy::ReleaseNamespace(_)),
        put_right: slots::release_namespaces,
    },
    Way {
        before: "sweep:masquerade",
        after: "sweep:masquerade-done",
        puts_right: |remedy| {
            matches!(remedy, Remedy::AddRule | Remedy::RemoveRule | Remedy::SwitchOn(_))
        },
        put_right: |node, due| each(due, |remedy| plane::node(node, remedy)),
    },
    Way {
        before: "sweep:halves",
        after: "sweep:halves-done",
        puts_right: |remedy| matches!(remedy, Remedy::RestoreHalf(_)),
        put_right: |node, due| plane::restore_halves(node, &due),
    },
    Way {
        before: "sweep:files",
        after: "sweep:files-done",
        puts_right: |remedy| matches!(remedy, Remedy::RemoveFile(_) | Remedy::RemoveSocket),
        put_right: |node, due| each(due, |remedy| plane::file(node, remedy)),
    },
];

fn put_right(node: &Node, mut due: Vec<Finding>) -> Outcomes {
    let mut outcomes = Vec::with_capacity(due.len());
    for way in &WAYS {
        let (some, others): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|finding| (way.puts_right)(&finding.remedy));
        due = others;
        if some.is_empty() {
            continue;
        }
        failpoint::hit(way.before);
        outcomes.extend((way.put_right)(node, some));
        failpoint::hit(way.after);
    }
    outcomes
}

/// Repairs findings one by one. `work` says what was done; nothing, where it was not needed.
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

/// What becomes of findings that were to be repaired together: the first has the error, and all are
/// tried again by the next sweep.
fn failed(due: &[Finding], error: impl Into<NodeError>) -> Outcomes {
    let mut error = Some(error.into());
    let mut outcome = || error.take().map_or(RepairOutcome::Waits, RepairOutcome::Failed);
    due.iter().map(|finding| (finding.clone(), outcome())).collect()
}

/// What was done, in the words of the remedy.
fn done(remedy: &Remedy) -> RepairOutcome {
    RepairOutcome::Done(remedy.words().to_owned())
}

/// Whether a file is there to be removed.
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
