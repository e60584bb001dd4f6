//! Naming the slots that have the addresses which a container lacks.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Node, error::NodeError, now};
use crate::{
    conf::{IpamConf, NetConf},
    ipam::AllocateError,
    store::{Slot, StoreError},
};

/// Containers that are named; of more, the number is.
const NAMED: usize = 3;

/// Adds the slots that have the addresses to an address error. Other errors stay unchanged, and so
/// does an error whose slots cannot be read.
///
/// The function reads all slots. It serves errors that go to the caller, not errors after which the
/// caller tries again.
pub(crate) fn name_holders(node: &Node, conf: &NetConf, error: NodeError) -> NodeError {
    let holders = match &error {
        NodeError::Allocate(AllocateError::Exhausted { .. }) => of_ranges(node, conf),
        NodeError::Allocate(AllocateError::RequestedTaken { address, .. })
        | NodeError::Store(StoreError::AddressTaken { address, .. }) => of_address(node, *address),
        _ => return error,
    };
    match holders {
        Ok(holders) if !holders.is_empty() => NodeError::Held { error: Box::new(error), holders },
        _ => error,
    }
}

/// The slot that has an address.
fn of_address(node: &Node, address: IpAddr) -> Result<String, StoreError> {
    let slot = node.store.read(|transaction| match transaction.address_owner(address)? {
        Some(id) => transaction.slot(id),
        None => Ok(None),
    })?;
    Ok(slot.map_or_else(String::new, |slot| {
        format!("{} has it and is {}", slot.described(), slot.state())
    }))
}

/// The slots that have addresses of a network's ranges.
fn of_ranges(node: &Node, conf: &NetConf) -> Result<String, StoreError> {
    let IpamConf::Own(own) = &conf.ipam else { return Ok(String::new()) };
    let is_in_range =
        |address: IpAddr| own.range_sets.iter().any(|set| set.range_of(address).is_some());
    let (mut slots, resting) = node.store.read(|transaction| {
        let slots = transaction.slots()?;
        let resting = transaction.addresses_in_cooldown(now())?;
        Ok::<_, StoreError>((slots, resting))
    })?;
    slots.retain(|slot| slot.addresses.iter().any(|address| is_in_range(address.addr())));
    let resting = resting.into_iter().filter(|address| is_in_range(*address)).count();
    Ok(listed(&slots, resting))
}

fn listed(slots: &[Slot], resting: usize) -> String {
    let mut groups: BTreeMap<String, Vec<&Slot>> = BTreeMap::new();
    for slot in slots {
        let group = match slot.container {
            Some(_) => format!("containers of network {}", slot.network),
            None => format!("slots of pool {} that are {}", slot.pool_id(), slot.state()),
        };
        groups.entry(group).or_default().push(slot);
    }
    let described = groups.into_iter().map(|(group, slots)| {
        let names: Vec<_> = slots.iter().filter_map(|slot| slot.container.as_ref()).collect();
        let text = names.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>();
        let more = if names.len() > NAMED { ", …" } else { "" };
        if text.is_empty() {
            return format!("{} {group}", slots.len());
        }
        format!("{} {group} ({}{more})", slots.len(), text.join(", "))
    });
    let mut parts: Vec<_> = described.collect();
    if resting > 0 {
        parts.push(format!("{resting} rest after their last use (key pool.cooldown)"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::SlotId, store::SlotState};

    fn slot(number: u64, container: Option<&str>) -> Slot {
        let (network, ifname) = ("functions".parse().unwrap(), "eth0".parse().unwrap());
        let mut slot = Slot::building(SlotId(number), network, ifname, 0);
        slot.container = container.map(|name| name.parse().unwrap());
        slot
    }

    #[test]
    fn containers_pools_and_addresses_that_rest_are_named() {
        let mut slots: Vec<_> =
            (1..=5).map(|number| slot(number, Some(&format!("c{number}")))).collect();
        let mut waits = slot(6, None);
        waits.become_state(SlotState::Warm, 1).unwrap();
        slots.push(waits);
        assert_eq!(
            listed(&slots, 2),
            "5 containers of network functions (c1, c2, c3, …), 1 slots of pool functions/eth0 that \
             are warm, 2 rest after their last use (key pool.cooldown)"
        );
        assert_eq!(listed(&[], 0), "");
    }
}
