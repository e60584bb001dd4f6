//! Dropped packets that have no event, because a CPU had recorded its share.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use repoint::datapath::EventReader;
use repoint_common::{
    counter::Reason,
    event::{BURST, PER_SECOND},
};

use crate::output::CommandError;

/// How often it is reported, at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was reported.
#[derive(Default)]
pub(super) struct Suppressed {
    reported: Vec<(Reason, u64)>,
    last: Option<Instant>,
}

impl Suppressed {
    /// Leaves out what there was until now.
    pub(super) fn until_now(events: &EventReader) -> Result<Self, CommandError> {
        Ok(Self { reported: events.suppressed()?, last: None })
    }

    /// Reports what there is more, now and then.
    pub(super) fn report(&mut self, events: &EventReader) -> Result<(), CommandError> {
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return Ok(());
        }
        self.report_now(events)
    }

    /// Reports what there is more, on standard error.
    pub(super) fn report_now(&mut self, events: &EventReader) -> Result<(), CommandError> {
        self.last = Some(Instant::now());
        let now = events.suppressed()?;
        let before =
            |reason| self.reported.iter().find(|(it, _)| *it == reason).map_or(0, |(_, n)| *n);
        for (reason, packets) in &now {
            let more = packets.saturating_sub(before(*reason));
            if more > 0 {
                writeln!(
                    io::stderr(),
                    "repoint: {more} packets dropped as {} have no event: a CPU records {BURST} at once \
                     and {PER_SECOND} a second",
                    reason.label()
                )?;
            }
        }
        self.reported = now;
        Ok(())
    }
}
