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
    #[error("repoint-agent runs: stop it first, or it builds what is removed")]
    AgentRuns,
    #[error(transparent)]
    Hidden(#[from] repoint::netns::HiddenError),
    #[error(
        "there is no pool {pool}: the first ADD of a network with key `pool` makes one, or \
         `repoint pool set NETWORK --config FILE`"
    )]
    NoPool { pool: String },
    #[error("there is more than one pool: name the network with --network")]
    WhichNetwork,
    #[error("function {function:?} cannot be a container id as well: give one with --id")]
    FunctionIsNoId { function: String },
    #[error("a pool cannot keep {warm} slots ready and have {max} at most")]
    MoreWarmThanMax { warm: u32, max: u32 },
    #[error("there is no slot of {which}: see `repoint slots`")]
    NoSlot { which: String },
    #[error("cannot read {path}: {source}")]
    ReadConfig { path: std::path::PathBuf, source: io::Error },
    #[error("{path} has no plugin of type repoint-cni")]
    NotOurs { path: std::path::PathBuf },
    #[error("{path}: {source}")]
    Config { path: std::path::PathBuf, source: repoint::conf::ConfError },
    #[error("{path} configures network {found}, not {wanted}")]
    OtherNetwork { path: std::path::PathBuf, found: String, wanted: String },
    #[error("{path} is of another node: its runDir is {run_dir}, see option --run-dir")]
    OtherNode { path: std::path::PathBuf, run_dir: std::path::PathBuf },
    #[error("cannot take down slot {slot}: {reason}")]
    Slot { slot: repoint::types::SlotId, reason: String },
    #[error("there is no template {name}: `repoint template` lists those that are stored")]
    NoTemplate { name: repoint::types::TemplateName },
    #[error(
        "nothing is confirmed yet: if what is shown is right, run \
         `repoint template confirm {name}{other} --digest {digest}`"
    )]
    NotConfirmed {
        name: repoint::types::TemplateName,
        digest: repoint::template::Digest,
        other: String,
    },
    #[error("{text:?} is neither the name of a stored template nor a file")]
    NeitherNameNorFile { text: String },
    #[error("cannot read {path}: {source}")]
    ReadTemplate { path: std::path::PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}")]
    WriteTemplate { path: std::path::PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Template { path: std::path::PathBuf, source: repoint::template::TemplateError },
    #[error(transparent)]
    Encode(#[from] repoint::template::TemplateError),
    #[error("{path} gives no name for the template: name it with --name: {source}")]
    FileIsNoName { path: std::path::PathBuf, source: repoint::types::InvalidValue },
    #[error("cannot remove {path}: {source}")]
    Remove { path: std::path::PathBuf, source: io::Error },
    #[error("cannot list interfaces: {0}")]
    Links(#[from] rtnetlink::Error),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("cannot print JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Prints a line.
pub(crate) fn said(text: &str) -> Result<(), CommandError> {
    Ok(writeln!(io::stdout(), "{text}")?)
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
