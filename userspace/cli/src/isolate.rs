//! `repoint isolate`.

use repoint::{
    conf::Directories,
    model::{Isolation, NetworkName},
    node::Isolated,
};

use crate::{
    node,
    output::{CommandError, said},
};

/// The arguments of `repoint isolate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// The network
    #[arg(value_name = "NETWORK")]
    network: NetworkName,
    /// none, tenant or function: what key `isolation` can be
    #[arg(value_name = "ISOLATION")]
    isolation: Isolation,
}

/// Gives the containers of a network that run another isolation.
pub(crate) fn run(directories: &Directories, wanted: &Wanted) -> Result<(), CommandError> {
    let Wanted { network, isolation } = wanted;
    let node = node::open(directories)?;
    node::maps(directories)?;
    if !node.slots()?.iter().any(|slot| slot.network == *network) {
        return Err(CommandError::NoNetwork { network: network.clone() });
    }
    let Isolated { in_use, changed, starting } = node.isolate(network, *isolation)?;
    if starting > 0 {
        return Err(CommandError::Starting { starting, network: network.clone() });
    }
    let name = isolation.name();
    said(&format!(
        "isolation of {in_use} running containers of network {network} is {name}, {changed} had another; \
         containers that start later have what key isolation of the network's configuration says"
    ))
}
