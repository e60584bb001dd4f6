//! `repoint activate` and `repoint park`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use repoint::{
    conf::{Directories, NetConf, User},
    failpoint,
    model::{
        AttachmentId, ContainerId, Decision, FunctionKey, GivenLabels, IfName, Mode, NetworkName,
        PoolId, TemplateName, Tenant,
    },
    node::{Node, NodeError},
    verbs::ActivateRequest,
};
use serde::Serialize;

use crate::{
    node,
    output::{CommandError, json, said},
};

/// What is attached, or was.
#[derive(Debug, clap::Args)]
pub(crate) struct Attachment {
    /// The network; needed where there is more than one pool
    #[arg(long)]
    network: Option<NetworkName>,
    /// Name of the interface in the container
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    interface: IfName,
}

/// Arguments of `repoint activate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Activate {
    #[command(flatten)]
    attachment: Attachment,
    /// The function; if it had a slot before that waits still, it gets that one
    #[arg(long)]
    function: FunctionKey,
    /// Whose function it is
    #[arg(long)]
    tenant: Option<Tenant>,
    /// The stored template that the slot is made from (default: what the network has)
    #[arg(long, value_name = "NAME")]
    template: Option<TemplateName>,
    /// With what: a configuration that is there (reuse), or a new instance (replicate)
    #[arg(long)]
    mode: Option<Mode>,
    /// Fail where no slot is ready, rather than build one
    #[arg(long)]
    prepared_only: bool,
    /// What to call this attachment when it is parked (default: the function's name)
    #[arg(long)]
    id: Option<ContainerId>,
    /// Labels of the function in this network, in the place of those of a former start: KEY=VALUE,…
    #[arg(long, value_name = "LABELS")]
    labels: Option<GivenLabels>,
    /// Where to mount the network namespace (default: netns/ID in the runtime directory)
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
    /// Print more than the path, as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `repoint park`.
#[derive(Debug, clap::Args)]
pub(crate) struct Park {
    #[command(flatten)]
    attachment: Attachment,
    /// What the attachment was called when it was activated
    id: ContainerId,
}

#[derive(Debug, Serialize)]
struct Activated<'a> {
    netns: &'a Path,
    slot: String,
    interface: String,
    addresses: Vec<String>,
    mac: String,
    mtu: u32,
    outcome: &'static str,
    decision: Option<Decision>,
}

/// Gives a function a slot and prints the path of its network namespace.
pub(crate) fn activate(directories: &Directories, wanted: Activate) -> Result<(), CommandError> {
    let node = node::open(directories)?;
    let Attachment { network, interface: ifname } = wanted.attachment;
    let conf = pool(&node, network.as_ref(), &ifname)?;
    let container =
        match wanted.id {
            Some(id) => id,
            None => wanted.function.as_str().parse().map_err(|_| CommandError::FunctionIsNoId {
                function: wanted.function.to_string(),
            })?,
        };
    let path = wanted.netns.unwrap_or_else(|| default_path(directories, &container));
    let attachment = AttachmentId { network: conf.name.clone(), container, ifname };
    let user = User {
        function: Some(wanted.function),
        tenant: wanted.tenant,
        template: wanted.template,
        mode: wanted.mode,
        labels: wanted.labels,
        ..User::default()
    };
    let request = ActivateRequest {
        conf: &conf,
        attachment: &attachment,
        user: &user,
        path: Some(&path),
        prepared_only: wanted.prepared_only,
    };
    let given = node.activate(&request)?;
    if !wanted.json {
        return Ok(writeln!(io::stdout(), "{}", path.display())?);
    }
    json(&Activated {
        netns: &path,
        slot: given.slot.to_string(),
        interface: given.host_ifname,
        addresses: given.addresses.iter().map(ToString::to_string).collect(),
        mac: given.mac.to_string(),
        mtu: given.mtu,
        outcome: given.outcome.label(),
        decision: given.decision,
    })
}

/// Parks what `activate` gave, and removes the file that was made for it.
pub(crate) fn park(directories: &Directories, wanted: Park) -> Result<(), CommandError> {
    let node = node::open(directories)?;
    let Attachment { network, interface: ifname } = wanted.attachment;
    let conf = pool(&node, network.as_ref(), &ifname)?;
    let path = default_path(directories, &wanted.id);
    let attachment = AttachmentId { network: conf.name, container: wanted.id, ifname };
    let had_slot = node.slot_of(&attachment)?.is_some();
    node.park(&attachment)?;
    failpoint::hit("park:parked");
    match fs::remove_file(&path) {
        // A `park` that was killed has parked the slot, and left the file.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !had_slot {
                return Err(CommandError::NoAttachment { attachment });
            }
        }
        Err(source) => return Err(CommandError::Remove { path, source }),
    }
    said(&format!("parked {attachment}"))
}

fn default_path(directories: &Directories, container: &ContainerId) -> PathBuf {
    directories.run.join("netns").join(container.as_str())
}

/// The configuration of the named network, or of the only one with a pool.
pub(crate) fn pool(
    node: &Node,
    network: Option<&NetworkName>,
    ifname: &IfName,
) -> Result<NetConf, CommandError> {
    let mut pools = node.pools()?;
    let is_meant =
        |id: &PoolId| id.ifname == *ifname && network.is_none_or(|network| *network == id.network);
    pools.retain(|(id, _)| is_meant(id));
    let Some((first, pool)) = pools.first() else {
        let network = network.map_or("any network", NetworkName::as_str);
        return Err(CommandError::NoPool { pool: format!("{network}/{ifname}") });
    };
    if pools.iter().any(|(id, _)| id.network != first.network) {
        return Err(CommandError::WhichNetwork);
    }
    Ok(NetConf::recorded(&pool.conf).map_err(NodeError::from)?)
}
