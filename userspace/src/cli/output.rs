//! Tables for people, JSON for programs.

use std::io::{self, Write as _};

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Lifecycle(#[from] repoint::lifecycle::LifecycleError),
    #[error(transparent)]
    Store(#[from] repoint::store::StoreError),
    #[error(transparent)]
    Datapath(#[from] repoint::datapath::DatapathError),
    #[error(transparent)]
    Masquerade(#[from] repoint::slot::MasqueradeError),
    #[error(
        "{slots} slots are on this node: delete their containers first, or take the slots down with \
         `repoint unload --force`"
    )]
    InUse { slots: usize },
    #[error("cannot take down slot {slot}: {reason}")]
    Slot { slot: repoint::types::SlotId, reason: String },
    #[error("cannot remove {path}: {source}")]
    Remove { path: std::path::PathBuf, source: io::Error },
    #[error("cannot list interfaces: {0}")]
    Links(#[from] rtnetlink::Error),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("cannot print JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Prints rows under a header.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), CommandError> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    Ok(writeln!(io::stdout(), "{table}")?)
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    Ok(writeln!(out)?)
}
