//! Sweeping now and then, and telling of it in the log.

use std::{sync::Arc, time::Duration};

use repoint::{
    lifecycle::Node,
    sweep::{Fate, Patience, Report, Sweeper, Told},
};
use tokio::{sync::Notify, time::sleep};
use tracing::{debug, info, warn};

/// Sweeps a node at once, and then every `interval`; never returns. `reloaded` is told when a new data
/// plane was loaded.
pub(crate) async fn sweep(node: Arc<Node>, interval: Duration, reloaded: &Notify) {
    let mut sweeper = Sweeper::new(Patience::default());
    loop {
        let node = Arc::clone(&node);
        let swept = tokio::task::spawn_blocking(move || {
            let report = sweeper.sweep(&node);
            (sweeper, report)
        });
        match swept.await {
            Ok((kept, report)) => {
                sweeper = kept;
                match report {
                    Ok(report) => {
                        log(&report);
                        if report.has_reloaded() {
                            reloaded.notify_one();
                        }
                    }
                    Err(error) => warn!("cannot sweep: {error}"),
                }
            }
            Err(_) => {
                warn!("a sweep ended early");
                sweeper = Sweeper::new(Patience::default());
            }
        }
        sleep(interval).await;
    }
}

/// What is put right is told each time; what is left, or waits, once.
fn log(report: &Report) {
    let Report { told, looked, locked, took, .. } = report;
    debug!("sweep: {} findings, looked {looked:?} (locked {locked:?}), took {took:?}", told.len());
    for Told { finding, fate, again } in told {
        match fate {
            Fate::Done(done) => info!("sweep: {finding}: {done}"),
            Fate::Failed(error) => {
                warn!("sweep: {finding}: cannot {}: {error}", finding.remedy.words());
            }
            Fate::Left if !again => info!("sweep: {finding}: left alone"),
            Fate::Waits if !again => {
                info!("sweep: {finding}: waits, then: {}", finding.remedy.words());
            }
            Fate::Left | Fate::Waits | Fate::Gone | Fate::Due => debug!("sweep: {finding}"),
        }
    }
}
