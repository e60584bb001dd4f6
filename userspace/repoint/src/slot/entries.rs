//! A slot's map entries, which bind addresses to its interface and enable traffic.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use repoint_common::{
    endpoint::{self, Endpoint},
    interface::{
        FLAG_ENFORCE, FLAG_ISOLATE_FUNCTION, FLAG_ISOLATE_TENANT, FLAG_LINK_LOCAL,
        FLAG_MORE_ADDRESSES, FLAG_STACK, Interface,
    },
};

use crate::{
    datapath::{DatapathError, Maps},
    failpoint,
    model::{Identity, Isolation, LinkLocal, LocalPath},
    store::Slot,
};

/// Writes the map entries of a slot. Packets to its addresses go to its interface, and traffic passes
/// both ways if `identity` is not [`Identity::PARKED`].
///
/// The entries of its addresses come first. They hold the interface's index, which the cleanup needs if
/// this process is killed in between.
pub fn write_entries(
    slot: &Slot,
    ifindex: u32,
    identity: Identity,
    maps: &Maps,
) -> Result<(), DatapathError> {
    point_addresses(slot, ifindex, identity, maps)?;
    maps.insert_interface(ifindex, &interface_of(slot, identity))
}

/// Writes the map entries of a slot that waited. Fails, before it writes anything, if the maps have no
/// entry of its interface.
///
/// A slot has had its entries since it was built. Maps without them belong to another data plane, loaded
/// after the pins were lost. The programs on the slot's interface still use the old maps, so that a
/// container with this slot could send and receive nothing. The kernel makes this check in the update
/// itself, at no cost.
pub fn write_waiting_entries(
    slot: &Slot,
    ifindex: u32,
    identity: Identity,
    maps: &Maps,
) -> Result<(), DatapathError> {
    maps.replace_interface(ifindex, &interface_of(slot, identity))?;
    failpoint::hit("point:interface");
    point_addresses(slot, ifindex, identity, maps)
}

fn point_addresses(
    slot: &Slot,
    ifindex: u32,
    identity: Identity,
    maps: &Maps,
) -> Result<(), DatapathError> {
    let endpoint = endpoint_of(slot, ifindex, identity);
    for address in &slot.addresses {
        maps.insert_endpoint(address.addr(), &endpoint)?;
        failpoint::hit("point:endpoint");
    }
    Ok(())
}

/// The entry of each of a slot's addresses.
#[must_use]
pub fn endpoint_of(slot: &Slot, ifindex: u32, identity: Identity) -> Endpoint {
    let takes_stack = slot.local_path == LocalPath::Stack;
    let flags = if takes_stack { endpoint::FLAG_STACK } else { 0 };
    let isolation = match slot.isolation {
        Isolation::None => 0,
        Isolation::Tenant => endpoint::FLAG_ISOLATE_TENANT,
        Isolation::Function => endpoint::FLAG_ISOLATE_FUNCTION,
    };
    let tenant = slot.tenant_number.0;
    Endpoint {
        ifindex,
        identity: identity.0,
        mac: slot.mac.0,
        flags: flags | isolation | if slot.enforces { endpoint::FLAG_ENFORCE } else { 0 },
        tenant,
        padding: 0,
        epoch: slot.epoch,
    }
}

/// The entry of a slot's interface.
#[must_use]
pub fn interface_of(slot: &Slot, identity: Identity) -> Interface {
    let (v4, v6) = by_family(&slot.addresses);
    let flag = |flag, is_set: bool| if is_set { flag } else { 0 };
    let more = v4.len() > 1 || v6.len() > 1;
    let allows_link_local = slot.link_local == LinkLocal::Allow;
    let takes_stack = slot.local_path == LocalPath::Stack;
    Interface {
        slot: slot.id.0,
        identity: identity.0,
        flags: flag(FLAG_MORE_ADDRESSES, more)
            | flag(FLAG_LINK_LOCAL, allows_link_local)
            | flag(FLAG_STACK, takes_stack)
            | flag(FLAG_ISOLATE_TENANT, slot.isolation == Isolation::Tenant)
            | flag(FLAG_ISOLATE_FUNCTION, slot.isolation == Isolation::Function)
            | flag(FLAG_ENFORCE, slot.enforces),
        ipv4: v4.first().map_or([0; 4], |address| address.octets()),
        ipv6: v6.first().map_or([0; 16], |address| address.octets()),
        mac: slot.mac.0,
        padding: [0; 2],
        tenant: slot.tenant_number.0,
        epoch: slot.epoch,
    }
}

/// Addresses by family, in their order.
pub(super) fn by_family(addresses: &[IpNet]) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpNet::V4(address) => v4.push(address.addr()),
            IpNet::V6(address) => v6.push(address.addr()),
        }
    }
    (v4, v6)
}
