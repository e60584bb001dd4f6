//! Taking addresses of the network's ranges for a slot.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{error::NodeError, now};
use crate::{
    conf::OwnIpam,
    ipam::{self, Availability, NodeAddresses, Pool},
    model::{PoolId, SlotId},
    store::{Access, Network, Slot, StoreError, Transaction, Write},
};

/// Name of the counter of addresses that were given before they had rested.
pub const COOLDOWN_YIELDED: &str = "cooldown_yielded";

/// Chooses addresses and records them for the slot. A requested address needs no cooldown. Another
/// address in cooldown is taken only if `cooldown_yields` and no other is left, and is counted.
pub(crate) fn take_addresses(
    transaction: &mut Write<'_>,
    id: &PoolId,
    own: &OwnIpam,
    node: &NodeAddresses,
    requested: &[IpAddr],
    cooldown_yields: bool,
    slot: SlotId,
) -> Result<Vec<IpNet>, NodeError> {
    let name = &id.network;
    let network = transaction.network(name)?;
    let last = &network.last_given;
    let pool = Pool { network: name, sets: &own.range_sets, last, node, cooldown_yields };
    let now = now();
    let addresses = ipam::allocate(&pool, requested, |address| {
        Ok::<_, NodeError>(availability(transaction, address, now)?)
    })?;
    for address in addresses.iter().map(IpNet::addr) {
        if !requested.contains(&address) && transaction.cooldown_end(address, now)?.is_some() {
            transaction.count_up(id, COOLDOWN_YIELDED)?;
        }
        transaction.take_address(address, slot)?;
    }
    let last_given = addresses.iter().map(|address| Some(address.addr())).collect();
    transaction.put_network(name, &Network { last_given })?;
    Ok(addresses)
}

/// Whether an address can be given at `now`, nanoseconds since the boot.
pub(crate) fn availability<T: Access>(
    transaction: &Transaction<'_, T>,
    address: IpAddr,
    now: u64,
) -> Result<Availability, StoreError> {
    if transaction.address_owner(address)?.is_some() {
        return Ok(Availability::Taken);
    }
    let resting = transaction.cooldown_end(address, now)?;
    Ok(resting.map_or(Availability::Free, Availability::CoolingDown))
}

/// Addresses of slots, without their prefixes.
pub(crate) fn addresses_of<'a>(
    slots: impl IntoIterator<Item = &'a Slot>,
) -> impl Iterator<Item = IpAddr> {
    slots.into_iter().flat_map(|slot| slot.addresses.iter().map(IpNet::addr))
}
