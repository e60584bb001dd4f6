//! Sweeping now and then, and reporting it in the log.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use repoint::{
    node::Node,
    sweep::{Kind, Outcome, Patience, RepairOutcome, Report, Sweeper},
    threads::ThreadError,
};
use tokio::{sync::Notify, time::sleep};
use tracing::{debug, info, warn};

/// Findings of a kind that are logged by their names.
const NAMED: usize = 5;

/// How long a requested sweep waits, so that it covers what else changes.
const GATHER: Duration = Duration::from_secs(1);

/// Sweeps a node at once, then every `interval`, and soon after it is `wanted`; never returns.
/// `reloaded` is notified when a new data plane was loaded.
pub(crate) async fn sweep(
    node: Arc<Node>,
    interval: Duration,
    reloaded: &Notify,
    wanted: &Notify,
) -> Infallible {
    let mut sweeper = Sweeper::new(Patience::default());
    loop {
        let node = Arc::clone(&node);
        let swept = tokio::task::spawn_blocking(move || {
            let report = sweeper.sweep(&node);
            (sweeper, report)
        });
        let report = if let Ok((kept, report)) = swept.await {
            sweeper = kept;
            report
        } else {
            sweeper = Sweeper::new(Patience::default());
            Err(ThreadError::Ended.into())
        };
        match report {
            Ok(report) => {
                log(&report);
                if report.has_reloaded() {
                    reloaded.notify_one();
                }
            }
            Err(error) => warn!("cannot sweep: {error}"),
        }
        tokio::select! {
            () = sleep(interval) => {}
            () = wanted.notified() => sleep(GATHER.min(interval)).await,
        }
    }
}

/// Logs every repair as a warning, the first of a kind by name. Findings that are left or wait are
/// logged once.
fn log(report: &Report) {
    let Report { outcomes, looked, locked, took } = report;
    debug!(
        "sweep: {} findings, looked {looked:?} (locked {locked:?}), took {took:?}",
        outcomes.len()
    );
    let mut done: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
    for outcome in outcomes {
        match &outcome.outcome {
            RepairOutcome::Done(what) => {
                let number = done.entry((outcome.finding.kind, what)).or_default();
                *number += 1;
                if *number <= NAMED {
                    log_repair(outcome.finding.kind, &format!("{}: {what}", outcome.finding));
                }
            }
            _ => log_other(outcome),
        }
    }
    for ((kind, what), number) in done.into_iter().filter(|(_, number)| *number > NAMED) {
        log_repair(kind, &format!("{} more of kind {kind}: {what}", number - NAMED));
    }
}

/// Logs a repair as a warning, because something was broken. What a reboot or an ended agent leaves
/// is logged at level info.
fn log_repair(kind: Kind, text: &str) {
    if matches!(kind, Kind::Boot | Kind::File) {
        info!("sweep: {text}");
    } else {
        warn!("sweep: {text}");
    }
}

fn log_other(outcome: &Outcome) {
    let Outcome { finding, outcome, again } = outcome;
    match outcome {
        RepairOutcome::Failed(error) => {
            warn!("sweep: {finding}: cannot {}: {error}", finding.remedy.words());
        }
        // Each time: a container will lose its traffic.
        RepairOutcome::Waits if finding.is_of_container() => {
            warn!("sweep: {finding}: waits, then: {}", finding.remedy.words());
        }
        RepairOutcome::Left if !again => info!("sweep: {finding}: left alone"),
        RepairOutcome::Waits if !again => {
            info!("sweep: {finding}: waits, then: {}", finding.remedy.words());
        }
        _ => debug!("sweep: {finding}"),
    }
}
