//! The agent's workers, which run in rounds: when they are notified, and at intervals.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use repoint::{
    node::{Node, NodeError},
    store::StoreError,
};
use tokio::{sync::Notify, time::sleep_until};
use tracing::warn;

use crate::AgentError;

/// How long a worker rests without a notification. A hit sends none.
const REST: Duration = Duration::from_millis(200);

/// One of the agent's workers. Each has a thread of its own, so that none waits for another.
pub(crate) trait Worker: Send + 'static {
    /// What it is called in errors.
    const NAME: &'static str;

    /// Does what there is to do. What fails is logged and tried again. Returns when there will be
    /// work without a notification.
    fn round(&mut self) -> Option<Instant>;
}

/// Has a worker do its rounds; returns on failure, or when the database is another one.
pub(crate) async fn work<W: Worker>(
    mut worker: W,
    node: &Arc<Node>,
    notified: &Notify,
) -> Result<StoreError, AgentError> {
    loop {
        let round = tokio::task::spawn_blocking(move || {
            let due = worker.round();
            (worker, due)
        });
        let due;
        (worker, due) = round.await.map_err(|_| AgentError::Worker(W::NAME))?;
        if let Err(gone) = node.store.ensure_current() {
            return Ok(gone);
        }
        let rest = tokio::time::Instant::now() + REST;
        let until = due.map_or(rest, |due| rest.min(due.into()));
        tokio::select! {
            () = notified.notified() => {}
            () = sleep_until(until) => {}
        }
    }
}

/// Logs why something failed.
pub(crate) fn log_failure<T>(what: &str, result: Result<T, NodeError>) -> Option<T> {
    result.inspect_err(|error| warn!("cannot {what}: {error}")).ok()
}
