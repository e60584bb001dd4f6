//! Reading the records of dropped packets.

use std::{
    fmt::{self, Display},
    path::Path,
    time::{Duration, Instant},
};

use aya::maps::{Array, MapData, MapError, PerCpuArray};
use repoint_common::{
    counter::Reason,
    event::{self, Budget, Event, RING},
};

use super::{DatapathError, Pins, pinned_map::open_map};

/// How long a record may take to be written.
const PATIENCE: Duration = Duration::from_millis(20);

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsFrom {
    /// With the oldest record that is held.
    Oldest,
    /// With the next that is written.
    Now,
}

/// A reader of the records of dropped packets. It takes nothing out: other readers have the same.
pub struct EventReader {
    ring: Array<MapData, Event>,
    head: Array<MapData, u64>,
    budgets: PerCpuArray<MapData, Budget>,
    /// Number of the record that is read next.
    next: u64,
    missed: u64,
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { next, missed, .. } = self;
        let mut shown = f.debug_struct("EventReader");
        shown.field("next", next).field("missed", missed).finish_non_exhaustive()
    }
}

impl EventReader {
    /// A reader of the data plane below `bpf_dir`, if that is loaded.
    pub fn open_existing(bpf_dir: &Path, from: EventsFrom) -> Result<Option<Self>, DatapathError> {
        let Some(pins) = Pins::existing(bpf_dir)? else { return Ok(None) };
        let mut reader = Self {
            ring: open_map(pins.path(event::MAP))?,
            head: open_map(pins.path(event::MAP_HEAD))?,
            budgets: open_map(pins.path(event::MAP_BUDGETS))?,
            next: 0,
            missed: 0,
        };
        reader.next = match from {
            EventsFrom::Oldest => reader.written()?.saturating_sub(RING as u64),
            EventsFrom::Now => reader.written()?,
        };
        Ok(Some(reader))
    }

    /// The next record; none: there is no other yet.
    pub fn next_event(&mut self) -> Result<Option<Event>, DatapathError> {
        while self.next < self.written()? {
            let found = self.copy_soon(self.next)?;
            // Only now: what is still in the ring was there while it was copied.
            let oldest = self.written()?.saturating_sub(RING as u64);
            if self.next < oldest {
                self.missed += oldest - self.next;
                self.next = oldest;
                continue;
            }
            self.next += 1;
            if found.is_some() {
                return Ok(found);
            }
            self.missed += 1;
        }
        Ok(None)
    }

    /// How many records there were, since the last call, that the reader did not get: they were overwritten
    /// before, or never written, because another CPU was writing at their place.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// How many records were ever written.
    pub fn written(&self) -> Result<u64, DatapathError> {
        self.head.get(&0, 0).map_err(failure(event::MAP_HEAD, "the number of records"))
    }

    /// How many dropped packets have no record, by reason, because a CPU had written its share.
    pub fn suppressed(&self) -> Result<Vec<(Reason, u64)>, DatapathError> {
        let sum = |reason: &Reason| {
            let budgets = self.budgets.get(&(*reason as u32), 0);
            let budgets = budgets.map_err(failure(event::MAP_BUDGETS, reason.label()))?;
            Ok((*reason, budgets.iter().map(|budget| budget.suppressed).sum()))
        };
        Reason::ALL.iter().filter(|reason| reason.is_drop()).map(sum).collect()
    }

    /// The record of a number once it is whole. A program writes it within microseconds, unless the machine
    /// stops its CPU for a while.
    fn copy_soon(&self, number: u64) -> Result<Option<Event>, DatapathError> {
        let begun = Instant::now();
        loop {
            let found = self.copy(number)?;
            if found.is_some() || begun.elapsed() > PATIENCE {
                return Ok(found);
            }
        }
    }

    /// The record of a number, if it is whole: a copy that began after it was.
    fn copy(&self, number: u64) -> Result<Option<Event>, DatapathError> {
        if self.at(number)?.sequence != number + 1 {
            return Ok(None);
        }
        let event = self.at(number)?;
        Ok((event.sequence == number + 1).then_some(event))
    }

    fn at(&self, number: u64) -> Result<Event, DatapathError> {
        // Less than the ring's size.
        let place = u32::try_from(number % RING as u64).unwrap_or_default();
        self.ring.get(&place, 0).map_err(failure(event::MAP, place))
    }
}

fn failure(map: &'static str, key: impl Display) -> impl FnOnce(MapError) -> DatapathError {
    move |source| DatapathError::Entry {
        action: "read",
        key: key.to_string(),
        map,
        source: Box::new(source),
    }
}
