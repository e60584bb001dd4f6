//! What belongs on the container's end of a slot: for building it, and for bringing it back.

use netlink_packet_route::RouteNetlinkMessage;

use crate::{
    netlink::{Request, add_address, add_neighbour, append_route, bring_up, configure_link},
    store::Slot,
    template::NetworkConfig,
};

/// Index of `lo`, in every namespace.
pub(super) const LOOPBACK: u32 = 1;

/// Brings the interface up and gives it addresses and neighbours; `lo`, too, in a namespace that is
/// the slot's own. In a caller's it is the caller's business.
pub(super) fn equip(
    slot: &Slot,
    config: &NetworkConfig,
    ifindex: u32,
) -> Vec<Request<RouteNetlinkMessage>> {
    let mut requests = vec![configure_link(ifindex, None), bring_up(ifindex)];
    if slot.owns_netns {
        requests.push(bring_up(LOOPBACK));
    }
    requests.extend(config.addresses.iter().map(|address| add_address(ifindex, *address)));
    let neighbours = config.neighbours.iter();
    requests.extend(neighbours.map(|(address, mac)| add_neighbour(ifindex, *address, *mac)));
    requests
}

/// Adds its routes, behind those of interfaces that the container has already.
pub(super) fn add_routes(
    config: &NetworkConfig,
    ifindex: u32,
) -> Vec<Request<RouteNetlinkMessage>> {
    config.routes.iter().map(|route| append_route(ifindex, route)).collect()
}
