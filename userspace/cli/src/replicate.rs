//! `repoint prepare` and `repoint replicate`.

use std::path::PathBuf;

use clap::value_parser;
use repoint::{
    conf::{Directories, NetConf, User},
    model::{
        AttachmentId, ContainerId, FunctionKey, IfName, NetworkName, SlotId, TemplateName, Tenant,
    },
    node::Node,
    store::Slot,
    verbs::{Made, Source, replicate},
};
use serde::Serialize;

use crate::{
    activate::pool,
    config, node,
    output::{CommandError, json, said, table},
    pool::build,
};

/// Which network's configuration counts.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The network; needed where more than one has a pool
    #[arg(long)]
    network: Option<NetworkName>,
    /// Name of the interface in the containers
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    interface: IfName,
    /// The network's configuration (a .conf or .conflist): needed where it has no pool on record
    #[arg(long, value_name = "FILE", conflicts_with = "network")]
    config: Option<PathBuf>,
}

impl Which {
    /// Opens the node. A file that configures a network may make it; otherwise it must exist.
    fn node(&self, directories: &Directories) -> Result<Node, CommandError> {
        match &self.config {
            Some(file) => {
                // The file may be for another node, which must not be made here.
                config::read(directories, file)?;
                Ok(Node::open(directories)?)
            }
            None => node::open(directories),
        }
    }

    fn conf(&self, node: &Node) -> Result<NetConf, CommandError> {
        match &self.config {
            Some(file) => config::read(&node.directories, file),
            None => pool(node, self.network.as_ref(), &self.interface),
        }
    }
}

/// Arguments of `repoint prepare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Prepare {
    #[command(flatten)]
    which: Which,
    /// How many
    #[arg(long, value_name = "SLOTS", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    count: u32,
    /// The function that they wait for (default: they are for anybody)
    #[arg(long)]
    function: Option<FunctionKey>,
    /// Whose function it is
    #[arg(long, requires = "function")]
    tenant: Option<Tenant>,
    /// The stored template that they are made from (default: what the network has)
    #[arg(long, value_name = "NAME")]
    template: Option<TemplateName>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `repoint replicate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Replicate {
    /// What to call the template
    name: TemplateName,
    #[command(flatten)]
    which: Which,
    /// Make it of what this container has (default: of what the network's configuration says)
    #[arg(long, value_name = "ID")]
    container: Option<ContainerId>,
    /// Make it of what this slot has
    #[arg(long, conflicts_with = "container")]
    slot: Option<SlotId>,
    /// Also make so many inactive configurations of it
    #[arg(long, value_name = "SLOTS", default_value_t = 0)]
    count: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    slot: String,
    state: String,
    addresses: Vec<String>,
}

impl From<&Slot> for Row {
    fn from(slot: &Slot) -> Self {
        Self {
            slot: slot.id.to_string(),
            state: slot.state().to_string(),
            addresses: slot.addresses.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    template: TemplateName,
    digest: String,
    origin: String,
    stored: &'static str,
    confirmed: bool,
    slots: Vec<Row>,
}

/// Makes configurations and keeps them inactive.
pub(crate) fn prepare(directories: &Directories, wanted: Prepare) -> Result<(), CommandError> {
    let node = wanted.which.node(directories)?;
    let conf = wanted.which.conf(&node)?;
    let user = User {
        function: wanted.function,
        tenant: wanted.tenant,
        template: wanted.template,
        ..User::default()
    };
    let (made, outcome) = build(&node, &conf, &wanted.which.interface, &user, wanted.count);
    if outcome.is_ok() || !made.is_empty() {
        let rows: Vec<Row> = made.iter().map(Row::from).collect();
        if wanted.json { json(&rows) } else { list(rows) }?;
    }
    Ok(outcome?)
}

fn list(rows: Vec<Row>) -> Result<(), CommandError> {
    table(
        ["SLOT", "STATE", "ADDRESSES"],
        rows.into_iter().map(|row| [row.slot, row.state, row.addresses.join(" ")]),
    )
}

/// Makes a template, stores it, and makes configurations of it.
pub(crate) fn run(directories: &Directories, wanted: &Replicate) -> Result<(), CommandError> {
    let node = wanted.which.node(directories)?;
    let conf = wanted.which.conf(&node)?;
    let slot = source(&node, &conf, wanted)?;
    let source = slot.as_ref().map_or(Source::Configuration, Source::Slot);
    let ifname = &wanted.which.interface;
    let Made { name, template, digest, put, owner, slots } =
        replicate(&node, &conf, ifname, &wanted.name, source, wanted.count)?;
    let rows: Vec<Row> = slots.iter().map(Row::from).collect();
    if wanted.json {
        return json(&Report {
            template: name,
            digest: digest.to_string(),
            origin: template.origin,
            stored: put.name(),
            confirmed: owner.is_none(),
            slots: rows,
        });
    }
    said(&format!("template {name} is {}, digest {digest}", put.name()))?;
    if let Some(owner) = owner {
        said(&format!(
            "it was made of a container of {owner}: confirm it for all containers by `repoint \
             template confirm {name}`"
        ))?;
    }
    if rows.is_empty() { Ok(()) } else { list(rows) }
}

/// The slot that is replicated, if one is named.
fn source(node: &Node, conf: &NetConf, wanted: &Replicate) -> Result<Option<Slot>, CommandError> {
    let id = match (&wanted.container, wanted.slot) {
        (None, None) => return Ok(None),
        (_, Some(slot)) => Some(slot),
        (Some(container), None) => {
            let attachment = AttachmentId {
                network: conf.name.clone(),
                container: container.clone(),
                ifname: wanted.which.interface.clone(),
            };
            node.slot_of(&attachment)?
        }
    };
    let found = id.map(|id| node.slot(id)).transpose()?.flatten();
    let name = || wanted.container.as_ref().map_or_else(String::new, ToString::to_string);
    found.map(Some).ok_or_else(|| CommandError::NoSlot {
        which: wanted.slot.map_or_else(name, |slot| slot.to_string()),
    })
}
