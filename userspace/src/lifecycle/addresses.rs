//! Taking addresses of the network's ranges for a slot.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{LifecycleError, node::now};
use crate::{
    conf::OwnIpam,
    ipam::{self, Pool},
    store::{Network, Write},
    types::{NetworkName, SlotId},
};

/// Chooses addresses and records whose they are. One that is asked for by name need not have rested
/// since its last use.
pub(super) fn take_addresses(
    transaction: &mut Write<'_>,
    name: &NetworkName,
    own: &OwnIpam,
    requested: &[IpAddr],
    slot: SlotId,
) -> Result<Vec<IpNet>, LifecycleError> {
    let network = transaction.network(name)?;
    let pool = Pool { network: name, sets: &own.range_sets, last: &network.last_given };
    let now = now();
    let addresses = ipam::allocate(&pool, requested, |address| {
        Ok::<_, LifecycleError>(if requested.contains(&address) {
            transaction.address_owner(address)?.is_some()
        } else {
            transaction.is_taken(address, now)?
        })
    })?;
    for address in &addresses {
        transaction.take_address(address.addr(), slot)?;
    }
    let last_given = addresses.iter().map(|address| Some(address.addr())).collect();
    transaction.put_network(name, &Network { last_given })?;
    Ok(addresses)
}
