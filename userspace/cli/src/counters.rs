//! `repoint counters`.

pub(crate) mod drops;

use repoint::conf::Directories;
use repoint_common::counter::{Counter, Reason};
use serde::Serialize;

use crate::{
    node,
    output::{CommandError, json, table},
};

/// A counter as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    reason: &'static str,
    dropped: bool,
    packets: u64,
    bytes: u64,
}

impl From<(Reason, Counter)> for Row {
    fn from((reason, counter): (Reason, Counter)) -> Self {
        Self {
            reason: reason.label(),
            dropped: reason.is_drop(),
            packets: counter.packets,
            bytes: counter.bytes,
        }
    }
}

/// Prints what became of packets since the data plane was loaded.
pub(crate) fn run(directories: &Directories, as_json: bool) -> Result<(), CommandError> {
    node::open(directories)?;
    let counters = node::maps(directories)?.counters()?;
    let rows = counters.into_iter().map(Row::from);
    if as_json {
        return json(&rows.collect::<Vec<_>>());
    }
    table(
        ["REASON", "", "PACKETS", "BYTES"],
        rows.filter(|row| row.packets > 0).map(|row| {
            let verdict = if row.dropped { "dropped" } else { "passed" };
            [
                row.reason.to_owned(),
                verdict.to_owned(),
                row.packets.to_string(),
                row.bytes.to_string(),
            ]
        }),
    )
}
