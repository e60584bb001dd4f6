//! Signals that the agent only logs: by default each would end it silently.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Streams of these signals.
pub(crate) struct Harmless {
    hangup: Signal,
    first: Signal,
    second: Signal,
    alarm: Signal,
    file_size: Signal,
}

impl Harmless {
    /// Catches them from now on.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            first: signal(SignalKind::user_defined1())?,
            second: signal(SignalKind::user_defined2())?,
            alarm: signal(SignalKind::alarm())?,
            file_size: signal(SignalKind::from_raw(libc::SIGXFSZ))?,
        })
    }

    /// Logs each signal. SIGHUP asks daemons to read their configuration again: every round reads
    /// pools and their configuration from the database.
    pub(crate) async fn log(mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => info!(
                    "going on after SIGHUP: pools and their configuration are read in every round, \
                     options and RUST_LOG at the start only"
                ),
                _ = self.first.recv() => info!("going on: SIGUSR1 means nothing here"),
                _ = self.second.recv() => info!("going on: SIGUSR2 means nothing here"),
                _ = self.alarm.recv() => info!("going on: SIGALRM means nothing here"),
                _ = self.file_size.recv() => warn!(
                    "a file would be larger than the agent may write: raise RLIMIT_FSIZE \
                     (LimitFSIZE= of its unit)"
                ),
            }
        }
    }
}
