//! The scrubber: brings slots that came back to what they were, for their trust domain.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use repoint::{
    failpoint,
    model::SlotId,
    node::{Node, NodeError},
    pool::MOST_SCRUBBED,
    retire::{ScrubOutcome, dirty_slots, scrub},
    store::Slot,
};
use tracing::{debug, info, warn};

use crate::worker::{Worker, log_failure};

/// First wait before the retry of a slot in use. Each wait is twice the one before.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// What the scrubber remembers from round to round.
#[derive(Debug)]
pub(crate) struct Scrubber {
    node: Arc<Node>,
    retries: HashMap<SlotId, Retry>,
}

/// A slot that was still in use.
#[derive(Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

impl Scrubber {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, retries: HashMap::new() }
    }
}

impl Worker for Scrubber {
    const NAME: &'static str = "scrubber";

    /// Runs a round on a thread of its own, because it enters and leaves namespaces.
    fn round(&mut self) -> Option<Instant> {
        let (node, retries) = (&self.node, &mut self.retries);
        let work = || log_failure("scrub slots", scrub_dirty(node, retries));
        let done = thread::scope(|scope| scope.spawn(work).join());
        let more = done.unwrap_or_else(|_| {
            warn!("a round of the scrubber ended early");
            None
        });
        let retry = self.retries.values().map(|retry| retry.at).min();
        if more == Some(true) { Some(Instant::now()) } else { retry }
    }
}

/// Scrubs slots that came back. A slot that was in use waits for its retry. Returns whether some
/// are left for the next round.
fn scrub_dirty(node: &Node, retries: &mut HashMap<SlotId, Retry>) -> Result<bool, NodeError> {
    let (dirty, _) = dirty_slots(node)?;
    retries.retain(|id, _| dirty.iter().any(|slot| slot.id == *id));
    let now = Instant::now();
    let due = |slot: &Slot| retries.get(&slot.id).is_none_or(|retry| retry.at <= now);
    let mut due: Vec<_> = dirty.into_iter().filter(due).collect();
    if due.is_empty() {
        return Ok(false);
    }
    let more = due.len() > MOST_SCRUBBED;
    due.truncate(MOST_SCRUBBED);
    let outcomes = scrub(node, &due)?;
    failpoint::hit("controller:scrubbed");
    for (id, outcome) in outcomes {
        let slot = due.iter().find(|slot| slot.id == id).map(Slot::described);
        log_outcome(&slot.unwrap_or_else(|| format!("slot {id}")), &outcome);
        if matches!(outcome, ScrubOutcome::InUse(_)) {
            let wait =
                retries.get(&id).map_or(FIRST_RETRY, |retry| (retry.wait * 2).min(LAST_RETRY));
            retries.insert(id, Retry { at: Instant::now() + wait, wait });
        } else {
            retries.remove(&id);
        }
    }
    Ok(more)
}

/// Logs what became of a slot that came back. Repairs after every stop are logged at level debug:
/// runtimes set `lo` down, plugins of the chain leave sysctls, and processes end after DEL.
fn log_outcome(slot: &str, outcome: &ScrubOutcome) {
    match outcome {
        ScrubOutcome::Ready { repaired } if repaired.is_empty() => debug!("{slot} is parked"),
        ScrubOutcome::Ready { repaired } => {
            debug!("{slot} is parked, its namespace was repaired: {}", repaired.join(", "));
        }
        ScrubOutcome::Unwanted => debug!("{slot} is deleted: no container may have it again"),
        ScrubOutcome::InUse(user) => debug!("{slot} is in use still: {user}"),
        ScrubOutcome::Deleted(reason) => info!("{slot} is deleted: {reason}"),
    }
}
