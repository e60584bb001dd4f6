//! STATUS: whether ADD would be served.

use crate::{
    conf::{IpamConf, LEAST_MTU_V6, NetConf, OwnIpam},
    datapath::PinsSeen,
    ipam::{self, Pool},
    node::{
        NetworkRequest, Node, NodeError, addresses::availability, age, configuration::ensure_ipv6,
        holders::name_holders, now, reserved::node_addresses,
    },
    store::{Prefix, Read, Slot, SlotState, StoreError},
};

/// Checks whether the node can attach one more container to the network. Its database and data
/// plane must work, and an address must be free. A pool with all slots in use does not matter,
/// because ADD is then served direct.
///
/// # Errors
/// [`NodeError::NotReady`] where ADD would fail, [`NodeError::Limited`] where the data plane cannot
/// be loaded while containers depend on it.
pub fn status(request: &NetworkRequest) -> Result<(), NodeError> {
    let not_ready = |error| NodeError::NotReady(Box::new(error));
    let node = Node::open(&request.conf.directories).map_err(not_ready)?;
    if request.conf.ipam.gives_ipv6() {
        // A template may set the MTU, and only ADD knows which template counts.
        ensure_ipv6(&request.conf, LEAST_MTU_V6).map_err(not_ready)?;
    }
    if let Err(error) = data_plane(&node) {
        let used = node.store.read(|transaction| is_in_use(transaction, &request.conf));
        return Err(match used {
            Ok(true) => NodeError::Limited(Box::new(error)),
            _ => not_ready(error),
        });
    }
    addresses(&node, request)
        .map_err(|error| not_ready(name_holders(&node, &request.conf, error)))?;
    node.store.ensure_room().map_err(|full| not_ready(full.into()))
}

/// Ensures that the data plane is loaded, and checks whether it is whole.
fn data_plane(node: &Node) -> Result<(), NodeError> {
    let directories = &node.directories;
    let missing = PinsSeen::look(&directories.bpf, &directories.run)?.missing.unwrap_or_default();
    if !missing.is_empty() {
        return Err(NodeError::PinsMissing {
            folder: directories.bpf.clone(),
            missing: missing.join(", "),
        });
    }
    node.load_datapath().map(drop)
}

/// Whether a container has a slot of the network.
fn is_in_use(transaction: &Read<'_>, conf: &NetConf) -> Result<bool, NodeError> {
    for id in transaction.indexed(Prefix::State(SlotState::Active))? {
        if transaction.slot(id?)?.is_some_and(|slot| slot.network == conf.name) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn addresses(node: &Node, request: &NetworkRequest) -> Result<(), NodeError> {
    match &request.conf.ipam {
        // Ranges may all come from the runtime, with ADD (capability `ipRanges`).
        IpamConf::Own(own) if own.range_sets.is_empty() => Ok(()),
        IpamConf::Own(own) => address_left(node, &request.conf, own),
        IpamConf::Delegated(plugin) => Ok(request.delegate(plugin)?.status()?),
    }
}

fn address_left(node: &Node, conf: &NetConf, own: &OwnIpam) -> Result<(), NodeError> {
    let reserved = node_addresses(&own.range_sets)?;
    node.store.read(|transaction| {
        let (network, now) = (transaction.network(&conf.name)?, now());
        let cooldown_yields = conf.pool.is_none_or(|policy| policy.cooldown.is_none());
        let last = &network.last_given;
        let sets = &own.range_sets;
        let pool = Pool { network: &conf.name, sets, last, node: &reserved, cooldown_yields };
        let free = ipam::allocate(&pool, &[], |address| {
            Ok::<_, NodeError>(availability(transaction, address, now)?)
        });
        match free {
            // An ADD that finds no address takes the address of a slot that waits.
            Err(_) if makes_room(transaction, conf, now)? => Ok(()),
            other => other.map(drop),
        }
    })
}

/// Whether a slot of the network waits that can be deleted for a container.
fn makes_room(transaction: &Read<'_>, conf: &NetConf, now: u64) -> Result<bool, StoreError> {
    let cooldown = conf.pool.and_then(|policy| policy.cooldown).unwrap_or_default();
    let can_go = |slot: &Slot| {
        let rested = age(slot.changed, now) >= cooldown;
        slot.network == conf.name && (!slot.used || rested)
    };
    for state in [SlotState::Parked, SlotState::Warm] {
        for id in transaction.indexed(Prefix::State(state))? {
            if transaction.slot(id?)?.is_some_and(|slot| can_go(&slot)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
