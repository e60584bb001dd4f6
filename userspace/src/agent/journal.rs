//! Logging how containers were served: plugins note it in the database, which costs an ADD less than
//! to wake anybody.

use repoint::{
    lifecycle::{LifecycleError, NO_POOL, Node},
    store::{Entry, Served},
};
use tracing::{debug, info};

/// What was logged last.
#[derive(Debug)]
pub(crate) struct Journal {
    last: u64,
}

impl Journal {
    /// Decisions that were made before now are nobody's news.
    pub(crate) fn new(node: &Node) -> Result<Self, LifecycleError> {
        let last = node.store.read(|transaction| transaction.last_decision())?;
        Ok(Self { last })
    }

    /// Logs what was decided since the last time: what went by the pool where somebody wants to know
    /// all, what a pool could not serve always.
    pub(crate) fn log(&mut self, node: &Node) -> Result<(), LifecycleError> {
        let decisions = node.store.read(|transaction| transaction.decisions(self.last))?;
        for Entry { number, attachment, decision, .. } in decisions {
            let missed = number.saturating_sub(self.last + 1);
            if missed > 0 {
                info!("{missed} decisions were made too fast to be logged");
            }
            self.last = number;
            if decision.served == Served::None && decision.reason != NO_POOL {
                info!("ADD {attachment}: {decision}");
            } else {
                debug!("ADD {attachment}: {decision}");
            }
        }
        Ok(())
    }
}
