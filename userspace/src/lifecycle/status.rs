//! STATUS: whether ADD would be served.

use super::{LifecycleError, NetworkRequest, Node, node::now};
use crate::{
    conf::{IpamConf, OwnIpam},
    ipam::{self, Pool},
};

/// Whether the node can attach one more container to the network: its database and data plane
/// work, and there is an address.
pub fn status(request: &NetworkRequest) -> Result<(), LifecycleError> {
    try_all(request).map_err(|error| LifecycleError::NotReady(Box::new(error)))
}

fn try_all(request: &NetworkRequest) -> Result<(), LifecycleError> {
    let node = Node::open(&request.conf.directories)?;
    drop(node.load_datapath()?);
    match &request.conf.ipam {
        // Ranges may all come from the runtime, with ADD (capability `ipRanges`).
        IpamConf::Own(own) if own.range_sets.is_empty() => Ok(()),
        IpamConf::Own(own) => address_left(&node, request, own),
        IpamConf::Delegated(plugin) => Ok(request.delegate(plugin)?.status()?),
    }
}

fn address_left(
    node: &Node,
    request: &NetworkRequest,
    own: &OwnIpam,
) -> Result<(), LifecycleError> {
    let name = &request.conf.name;
    node.store.read(|transaction| {
        // An ADD that finds no address is given that of a slot that waits.
        if transaction.any_slot(|slot| slot.network == *name && slot.state().is_idle())? {
            return Ok(());
        }
        let (network, now) = (transaction.network(name)?, now());
        let pool = Pool { network: name, sets: &own.range_sets, last: &network.last_given };
        ipam::allocate(&pool, &[], |address| {
            Ok::<_, LifecycleError>(transaction.is_taken(address, now)?)
        })
        .map(drop)
    })
}
