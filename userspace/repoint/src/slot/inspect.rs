//! Whether a slot's kernel objects are what its record and configuration say.

use std::{fmt, net::IpAddr};

use repoint_common::{GATEWAY_V4, GATEWAY_V6};

use super::{
    Compared, HookError, NodeNeeds, NodeNeedsError, compare_half, endpoint_of, interface_of,
    look_at_halves, parts_in_words, sources,
};
use crate::{
    datapath::{Datapath, DatapathError, Maps},
    model::Mac,
    netlink::{self, LinkInfo, NetlinkError, Route, RouteSocket},
    netns::{Netns, NetnsError},
    store::Slot,
    template::NetworkConfig,
};

/// Why a slot cannot be inspected, or what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Something is not as it should be.
    #[error("{0}")]
    Differs(String),
    /// The kernel does not answer.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The maps cannot be read.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// What slots need of the node cannot be looked at.
    #[error(transparent)]
    Node(#[from] NodeNeedsError),
}

impl From<HookError> for InspectError {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Netlink(error) => error.into(),
            HookError::Datapath(error) => error.into(),
        }
    }
}

fn differs(what: impl fmt::Display) -> InspectError {
    InspectError::Differs(what.to_string())
}

/// Compares both ends, the map entries and what the slot needs of the node. Objects that others added are
/// no difference. `mac` is the Ethernet address of the container's end: the slot's, unless a later plugin
/// of the chain set another.
pub fn inspect(
    slot: &Slot,
    mac: Mac,
    config: &NetworkConfig,
    netns: &Netns,
    datapath: &Datapath,
) -> Result<(), InspectError> {
    let programs = config.programs.then(|| datapath.programs.numbers());
    node_half(slot, programs)?;
    netns.run(|| container_end(slot, mac, config))??;
    let ifindex = slot.host_ifindex().ok_or_else(|| differs("its record has no interface"))?;
    entries(slot, ifindex, &datapath.maps)
}

fn node_half(slot: &Slot, programs: Option<[u32; 2]>) -> Result<(), InspectError> {
    // Switching the node's forwarding off switches it off for each interface: compare the node first.
    if let Some(lack) = NodeNeeds::of(slot).lacks()?.first() {
        return Err(differs(lack));
    }
    let name = slot.id.host_ifname();
    let seen = look_at_halves(&mut RouteSocket::open()?, &[slot], programs)?.pop();
    match compare_half(slot, &seen.unwrap_or_default(), programs) {
        Compared::Own(parts) if parts.is_empty() => {}
        Compared::Own(parts) => {
            return Err(differs(format!("interface {name}: {}", parts_in_words(&parts))));
        }
        Compared::Gone => return Err(differs(format!("interface {name} on the node is gone"))),
        Compared::Strange => return Err(differs(format!("interface {name} is another's by now"))),
    }
    Ok(())
}

fn container_end(slot: &Slot, mac: Mac, config: &NetworkConfig) -> Result<(), InspectError> {
    let mut socket = RouteSocket::open()?;
    let link = find(&mut socket, slot.ifname.as_str(), "in the container")?;
    require_up(&link)?;
    if link.mac != Some(mac) {
        let found = link.mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
        return Err(differs(format!("{} has MAC address {found}, not {mac}", link.name)));
    }
    let addresses = netlink::addresses(&mut socket, link.ifindex)?;
    if let Some(lost) = config.addresses.iter().find(|address| !addresses.contains(address)) {
        return Err(differs(format!("address {lost} is gone from {}", link.name)));
    }
    let routes = netlink::routes(&mut socket)?;
    if let Some(lost) = config.routes.iter().find(|wanted| !is_served(wanted, &routes)) {
        return Err(differs(format!("the route to {} is gone", lost.destination)));
    }
    if slot.built.is_some_and(|built| built.source_routed)
        && let Some(source) = sources::missing(&mut socket, link.ifindex, &config.addresses)?
    {
        return Err(differs(format!("the rule that routes packets from {source} is gone")));
    }
    let neighbours = netlink::neighbours(&mut socket, link.ifindex)?;
    match config.neighbours.iter().find(|wanted| !is_known(wanted, &neighbours)) {
        Some((lost, _)) => {
            Err(differs(format!("the neighbour entry of gateway {lost} is gone, or another")))
        }
        None => Ok(()),
    }
}

/// Whether a router has its entry. The gateway needs none, as the programs answer for it; the kernel
/// removes them when the interface gets another Ethernet address.
fn is_known(wanted: &(IpAddr, Mac), neighbours: &[(IpAddr, Mac)]) -> bool {
    let gateways = [IpAddr::from(GATEWAY_V4), IpAddr::from(GATEWAY_V6)];
    let has_another = || neighbours.iter().any(|(router, _)| *router == wanted.0);
    neighbours.contains(wanted) || gateways.contains(&wanted.0) && !has_another()
}

/// Whether the route, or one that does the same, exists. The route may be of another interface that was
/// there first. Another plugin of the chain may have moved routes into a table of its own; a route there
/// that leads the same way counts. sbr does so, and keeps the default route but not the routes that it
/// covers.
fn is_served(wanted: &Route, routes: &[(u32, Route)]) -> bool {
    routes.iter().any(|(_, route)| {
        let moved = route.options.table != wanted.options.table;
        let same_way = route.gateway == wanted.gateway;
        same_way
            && (route.destination == wanted.destination
                || moved && route.destination.contains(&wanted.destination))
    })
}

fn find(socket: &mut RouteSocket, name: &str, whereabouts: &str) -> Result<LinkInfo, InspectError> {
    match netlink::get_link(socket, name) {
        Err(error) if error.is_absent() => {
            Err(differs(format!("interface {name} {whereabouts} is gone")))
        }
        other => Ok(other?),
    }
}

fn require_up(link: &LinkInfo) -> Result<(), InspectError> {
    if link.up { Ok(()) } else { Err(differs(format!("interface {} is down", link.name))) }
}

fn entries(slot: &Slot, ifindex: u32, maps: &Maps) -> Result<(), InspectError> {
    let found = maps.interface(ifindex)?;
    if found != Some(interface_of(slot, slot.identity)) {
        return Err(differs(format!("map entry of interface {ifindex} is {found:?}")));
    }
    let expected = endpoint_of(slot, ifindex, slot.identity);
    for address in slot.addresses.iter().map(ipnet::IpNet::addr) {
        let found = maps.endpoint(address)?;
        if found != Some(expected) {
            return Err(differs(format!("map entry of address {address} is {found:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::RouteOptions;

    fn route(destination: &str, gateway: &str, table: Option<u32>) -> Route {
        let options = RouteOptions { table, ..RouteOptions::default() };
        let gateway = Some(gateway.parse().unwrap());
        Route { destination: destination.parse().unwrap(), gateway, options }
    }

    #[test]
    fn a_route_may_be_moved_but_not_missed() {
        let wanted = route("10.1.0.0/24", "169.254.1.1", None);
        let served = |route: Route| is_served(&wanted, &[(2, route)]);
        assert!(served(wanted.clone()));
        assert!(served(route("0.0.0.0/0", "169.254.1.1", Some(100))), "sbr's table");
        assert!(!served(route("0.0.0.0/0", "169.254.1.1", None)), "gone from the same table");
        assert!(!served(route("10.1.0.0/24", "10.1.0.9", None)), "another gateway");
        assert!(!served(route("10.2.0.0/16", "169.254.1.1", Some(100))), "another way");
    }
}
