//! Tables for people, JSON for programs.

use std::io::{self, Write as _};

use comfy_table::{Table, presets::NOTHING};
use repoint::{
    node::{NodeError, PoolError, StoredTemplateError},
    store::StoreError,
};
use serde::Serialize;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("{}", as_command(.0))]
    Node(#[from] NodeError),
    #[error(
        "this is user {user}: the node's folders are root's, run it as root (`sudo repoint …`)"
    )]
    NotRoot { user: u32 },
    #[error(
        "there is nothing of repoint in {}: no container was added since the boot, or another folder is \
         meant (--run-dir, key runDir of the network's configuration); the first ADD makes the node, \
         or `repoint load`",
        run_dir.display()
    )]
    NoNode { run_dir: std::path::PathBuf },
    #[error(
        "the data plane is not loaded in {}: the first ADD loads it, or `repoint load`; or another \
         folder is meant (--bpf-dir, key bpfDir of the network's configuration)",
        bpf_dir.display()
    )]
    NotLoaded { bpf_dir: std::path::PathBuf },
    #[error(
        "no template was ever stored in {}: `repoint replicate` makes one, `repoint template import` \
         brings one; or another folder is meant (--state-dir, key stateDir of the network's \
         configuration)",
        state_dir.display()
    )]
    NoTemplates { state_dir: std::path::PathBuf },
    #[error(
        "there is nothing of repoint in {} or {}: it was unloaded before, or other folders are meant \
         (--run-dir and --bpf-dir)",
        run_dir.display(),
        bpf_dir.display()
    )]
    NothingToUnload { run_dir: std::path::PathBuf, bpf_dir: std::path::PathBuf },
    #[error(
        "the data plane is loaded in {}, but {} has no database that names its containers: if another \
         folder is meant, name it (--run-dir); if the database is lost, `repoint sweep` removes what it \
         knew, and `repoint unload --force` the data plane",
        bpf_dir.display(),
        run_dir.display()
    )]
    NoDatabase { run_dir: std::path::PathBuf, bpf_dir: std::path::PathBuf },
    #[error("{attachment} has no slot: `repoint slots` lists containers, networks and interfaces")]
    NoAttachment { attachment: repoint::model::AttachmentId },
    #[error("network {network} has no slot: `repoint slots` lists networks and containers")]
    NoNetwork { network: repoint::model::NetworkName },
    #[error(
        "{starting} containers of network {network} were starting and keep the former isolation: run the \
         command again"
    )]
    Starting { starting: usize, network: repoint::model::NetworkName },
    #[error("{}: {source}", file.display())]
    ReadPolicies { file: std::path::PathBuf, source: io::Error },
    #[error(transparent)]
    Policies(#[from] repoint_policy::read::ReadError),
    #[error("{object} is in two of the files")]
    Twice { object: repoint_policy::ObjectId },
    #[error(
        "no policy was ever stored in {}: `repoint policy apply` stores some; or another folder is meant \
         (--state-dir, key stateDir of the network's configuration)",
        state_dir.display()
    )]
    NoPolicies { state_dir: std::path::PathBuf },
    #[error("there is no policy {name}: `repoint policy list` lists those that are stored")]
    NoPolicy { name: String },
    #[error(
        "{} has no case: describe flows in a document of kind PolicyTest (docs/policies.md)",
        file.display()
    )]
    NoCase { file: std::path::PathBuf },
    #[error("name a policy, or --all for all of them")]
    NoPolicyShown,
    #[error("name a policy, or a file of policies (-f)")]
    NoPolicyNamed,
    #[error(
        "{text}: write KEY=VALUE for a label, KEY- to remove one, or NAME=NUMBER/PROTOCOL for a port (--port)"
    )]
    NotLabel { text: String },
    #[error("label {key} is given by repoint and cannot be declared")]
    GivenLabel { key: &'static str },
    #[error("{0}")]
    Label(String),
    #[error("no slot is of tenant {tenant}: `repoint tenants` lists those that have some")]
    NoTenant { tenant: repoint::model::Tenant },
    #[error(transparent)]
    Store(#[from] StoreError),
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
    Hidden(#[from] repoint::netns::NetnsStoreError),
    #[error(
        "there is no pool {pool}: the first ADD of a network with key `pool` makes one, or \
         `repoint pool set NETWORK --config FILE`"
    )]
    NoPool { pool: String },
    #[error(
        "more than one network has a pool: name one with --network (`repoint pool` lists them)"
    )]
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
    Slot { slot: repoint::model::SlotId, reason: String },
    #[error("there is no template {name}: `repoint template` lists those that are stored")]
    NoTemplate { name: repoint::model::TemplateName },
    #[error(
        "nothing is confirmed yet: if what is shown is right, run \
         `repoint template confirm {name}{other} --digest {digest}`"
    )]
    NotConfirmed {
        name: repoint::model::TemplateName,
        digest: repoint::model::TemplateDigest,
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
    FileIsNoName { path: std::path::PathBuf, source: repoint::model::InvalidValue },
    #[error("cannot remove {path}: {source}")]
    Remove { path: std::path::PathBuf, source: io::Error },
    #[error("cannot list interfaces: {0}")]
    Links(#[from] rtnetlink::Error),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("cannot print JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The library's error in the CLI's words, without CNI verbs and annotations.
fn as_command(error: &NodeError) -> String {
    match error {
        NodeError::Pool(PoolError::NonePrepared { pool }) => format!(
            "pool {pool} holds no slot that is ready: `repoint prepare` builds some, or leave out \
             --prepared-only"
        ),
        NodeError::Pool(PoolError::NotOfPool { attachment }) => format!(
            "{attachment} is in its runtime's own namespace, which cannot be parked: stop the \
             container through its runtime"
        ),
        NodeError::Store(StoreError::AttachmentTaken { attachment, slot }) => format!(
            "{attachment} is attached already (slot {slot}): `repoint park` it first, or choose \
             another --id"
        ),
        NodeError::Pool(PoolError::TooWide { network, annotation, value, limit }) => format!(
            "--{annotation} {value} asks for more than network {network} allows, {limit}: ask for \
             less, or change key pool of the network's configuration",
            annotation = annotation.name().trim_start_matches("repoint.dev/")
        ),
        NodeError::StoredTemplate(StoredTemplateError::Name(source)) => {
            format!("the template's name: {source}")
        }
        NodeError::NoNetnsStore => "the namespace store is gone: restart \
             repoint-agent, or run `repoint sweep`"
            .to_owned(),
        other => other.to_string(),
    }
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
